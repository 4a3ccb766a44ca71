"""The losses in torch, as their papers write them, as references for ours.

Each takes the argument to differentiate and the arrays of `benchmarks.losses`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F

_T = 4.0


def kd(x: Any, a: Any) -> Any:
  return _T**2 * F.kl_div(
    F.log_softmax(x / _T, 1),
    F.softmax(a["teacher_logits"] / _T, 1),
    reduction="batchmean",
  )


def lelp_loss(x: Any, targets: Any, temperature: float) -> Any:
  """Computes the loss from logits and log probabilities, both [B, C * S]."""
  log_probs = F.log_softmax(x / temperature, 1)
  return temperature**2 * F.kl_div(
    log_probs, targets, reduction="batchmean", log_target=True
  )


def embedding(x: Any, a: Any) -> Any:
  return torch.linalg.vector_norm(x - a["teacher"], dim=1).mean()


def fitnet(x: Any, a: Any) -> Any:
  return F.mse_loss(x, a["teacher"])


def vid(x: Any, a: Any) -> Any:
  variance = F.softplus(a["variance_logits"]) + 1e-5
  errors = (x - a["teacher"]) ** 2 / variance
  return (0.5 * (errors + variance.log())).mean()


def _distances(x: Any) -> Any:
  squares = (x * x).sum(1)
  gram = squares[:, None] + squares[None] - 2 * x @ x.T
  distances = gram.clamp(min=1e-12).sqrt()
  distances = distances * (1 - torch.eye(len(x)))
  return distances / distances[distances > 0].mean()


def rkd_distance(x: Any, a: Any) -> Any:
  return F.smooth_l1_loss(_distances(x), _distances(a["teacher"]))


def _angles(x: Any) -> Any:
  edges = F.normalize(x[None] - x[:, None], dim=2)
  return torch.bmm(edges, edges.transpose(1, 2))


def rkd_angle(x: Any, a: Any) -> Any:
  return F.smooth_l1_loss(_angles(x), _angles(a["teacher"]))


def info_nce(x: Any, a: Any) -> Any:
  scores = F.normalize(x) @ F.normalize(a["teacher"]).T / 0.07
  return F.cross_entropy(scores, torch.arange(len(x)))


def dkd(x: Any, a: Any) -> Any:
  one_hot = F.one_hot(a["labels"], x.shape[1]).float()

  def parts(logits: Any) -> tuple[Any, Any]:
    probs = F.softmax(logits / _T, 1)
    target = (probs * one_hot).sum(1)
    return torch.stack([target, 1 - target], 1), logits / _T - 1000 * one_hot

  student, others = parts(x)
  teacher, teacher_others = parts(a["teacher_logits"])
  target = F.kl_div(student.log(), teacher, reduction="batchmean")
  rest = F.kl_div(
    F.log_softmax(others, 1),
    F.softmax(teacher_others, 1),
    reduction="batchmean",
  )
  return _T**2 * (target + 8 * rest)


def dist(x: Any, a: Any) -> Any:
  student = F.softmax(x / _T, 1)
  teacher = F.softmax(a["teacher_logits"] / _T, 1)

  def apart(u: Any, v: Any) -> Any:
    u, v = u - u.mean(1, keepdim=True), v - v.mean(1, keepdim=True)
    return 1 - F.cosine_similarity(u, v).mean()

  return _T**2 * (apart(student, teacher) + apart(student.T, teacher.T))


def standardized_kd(x: Any, a: Any) -> Any:
  def z_scores(logits: Any) -> Any:
    mean = logits.mean(1, keepdim=True)
    return (logits - mean) / logits.std(1, keepdim=True, correction=0)

  return _T**2 * F.kl_div(
    F.log_softmax(z_scores(x) / _T, 1),
    F.softmax(z_scores(a["teacher_logits"]) / _T, 1),
    reduction="batchmean",
  )


def crd_bank(x: Any, a: Any) -> Any:
  """Computes the released code's criterion, without updating the bank."""
  odds = a["ids"].shape[1] - 1, a["bank"].shape[1]

  def one_side(anchors: Any, rows: Any) -> Any:
    rows = rows[a["ids"]]  # [B, 1 + K, D]
    scores = torch.bmm(rows, anchors[:, :, None])[..., 0] / 0.07
    probs = scores.exp() / math.exp(10.0)
    noise = odds[0] / odds[1]
    positive = (probs[:, 0] / (probs[:, 0] + noise + 1e-7)).log().sum()
    negative = (noise / (probs[:, 1:] + noise + 1e-7)).log().sum()
    return -(positive + negative) / len(anchors)

  student, teacher = F.normalize(x), F.normalize(a["teacher"])
  return one_side(student, a["bank"][1]) + one_side(teacher, a["bank"][0])
