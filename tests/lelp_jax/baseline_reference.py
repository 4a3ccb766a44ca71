"""The losses LELP is compared with, in NumPy: float64, loops, slow and obvious.

Written from the papers' equations, never from the library, which it does not
import. A loss with a value for each example takes one batch and returns them
all; the others return a number. Undefined quotients follow what the
docstrings promise: a zero vector has no direction, a constant row no
correlation, both zero.
"""

import math

import numpy as np

from tests import reference


def golden(n, m, a, b):
  """The inputs that the golden values were computed from."""
  return np.sin(a * (np.arange(n * m).reshape(n, m) + 1) + b)


def unit_rows(array):
  """Rows of length one."""
  array = np.asarray(array, np.float64)
  return array / np.linalg.norm(array, axis=1, keepdims=True)


def unit(vector):
  """A vector of length one; zero stays zero."""
  length = math.sqrt(sum(value**2 for value in vector))
  return vector / length if length > 0 else np.zeros_like(vector)


def centred(vector):
  """A vector less its mean; exactly zero if it is constant."""
  if np.all(vector == vector[0]):
    return np.zeros_like(vector)
  return vector - vector.mean()


def huber(error):
  """Half the square up to one, then linear."""
  error = abs(error)
  return 0.5 * error**2 if error <= 1 else error - 0.5


def softplus(x):
  """`log(1 + exp(x))`, for any size of `x`."""
  return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


# --- Embeddings --------------------------------------------------------------


def embedding_loss(student, teacher):
  """Equation (2) of the paper: the norm of the difference."""
  return np.array(
    [np.linalg.norm(t - s) for s, t in zip(student, teacher, strict=True)]
  )


def hint_loss(student, teacher):
  """FitNet: the mean over the width of squared differences."""
  return np.array(
    [np.mean((t - s) ** 2) for s, t in zip(student, teacher, strict=True)]
  )


def vid_loss(mean, teacher, variance_logits, floor=1e-5):
  """VID: negative log likelihood of a Gaussian, mean over the width."""
  losses = np.zeros(len(mean))
  for n in range(len(mean)):
    for d in range(mean.shape[1]):
      variance = softplus(variance_logits[d]) + floor
      square = (teacher[n, d] - mean[n, d]) ** 2
      losses[n] += 0.5 * (square / variance + math.log(variance))
  return losses / mean.shape[1]


def rkd_distance_loss(student, teacher):
  """RKD, distance-wise: each side over its mean distance of two examples."""
  batch = len(student)
  relative = []
  for rows in (student, teacher):
    distances = np.array(
      [
        [np.linalg.norm(rows[i] - rows[j]) for j in range(batch)]
        for i in range(batch)
      ]
    )
    pairs = [distances[i, j] for i in range(batch) for j in range(i)]
    mean = np.mean(pairs) if pairs else 0.0
    relative.append(distances / mean if mean > 0 else distances)
  total = 0.0
  for i in range(batch):
    for j in range(batch):
      total += huber(relative[0][i, j] - relative[1][i, j])
  return total / batch**2


def rkd_angle_loss(student, teacher):
  """RKD, angle-wise, equations (9) and (10), over all triples."""
  batch = len(student)
  total = 0.0
  for i in range(batch):
    for j in range(batch):
      for k in range(batch):
        cosines = [
          unit(rows[i] - rows[j]) @ unit(rows[k] - rows[j])
          for rows in (student, teacher)
        ]
        total += huber(cosines[0] - cosines[1])
  return total / batch**3


# --- Logits ------------------------------------------------------------------


def dkd_terms(student_logits, teacher_logits, label, temperature):
  """One example: KL of target against the rest, and KL among the rest."""
  target, others = [], []
  for logits in (teacher_logits, student_logits):
    log_probs = reference.log_softmax(np.asarray(logits) / temperature)
    rest = np.delete(log_probs, label)
    log_rest = reference.log_sum_exp(rest)
    target.append(np.array([log_probs[label], log_rest]))
    others.append(rest - log_rest)
  return reference.kl_divergence(*target), reference.kl_divergence(*others)


def dkd_loss(student, teacher, labels, temperature, alpha, beta):
  """DKD, equation (7)."""
  losses = []
  for s, t, label in zip(student, teacher, labels, strict=True):
    tckd, nckd = dkd_terms(s, t, label, temperature)
    losses.append(temperature**2 * (alpha * tckd + beta * nckd))
  return np.array(losses)


def pearson(a, b):
  """Pearson's correlation; with a constant, zero."""
  return float(unit(centred(a)) @ unit(centred(b)))


def dist_loss(student, teacher, temperature, inter=1.0, intra=1.0):
  """DIST: correlations of the rows and of the columns of probabilities."""
  s, t = (
    np.exp([reference.log_softmax(row / temperature) for row in logits])
    for logits in (student, teacher)
  )
  rows = [1 - pearson(s[i], t[i]) for i in range(len(s))]
  columns = [1 - pearson(s[:, c], t[:, c]) for c in range(s.shape[1])]
  return temperature**2 * (inter * np.mean(rows) + intra * np.mean(columns))


def standardized_kd_loss(student, teacher, temperature):
  """Distillation of z-scores, with the standard deviation over C."""
  width = math.sqrt(student.shape[1])
  return np.array(
    [
      reference.kd_loss(
        width * unit(centred(s)), width * unit(centred(t)), temperature
      )
      for s, t in zip(student, teacher, strict=True)
    ]
  )


def subclass_auxiliary_loss(logits, temperature):
  """Subclass Distillation: `mean_i logsumexp_j(v_i v_j) - v_i v_i - log B`."""
  rows = [unit(centred(row)) / math.sqrt(temperature) for row in logits]
  losses = [reference.log_sum_exp([v @ w for w in rows]) - v @ v for v in rows]
  return np.mean(losses) - math.log(len(rows))


# --- Contrast ----------------------------------------------------------------


def crd_loss(student, teacher, temperature, dataset_size):
  """CRD in the batch, negatives summed, from the critic's probabilities."""
  batch = len(student)
  losses = np.zeros(batch)
  for i in range(batch):
    for j in range(batch):
      score = student[i] @ teacher[j] / temperature
      if batch == 1:
        continue  # N = 0: the critic is one.
      log_odds = score - math.log((batch - 1) / dataset_size)
      losses[i] += softplus(-log_odds if i == j else log_odds)
  return losses


def info_nce_loss(student, teacher, temperature):
  """Cross entropy of finding the teacher of each student."""
  return np.array(
    [
      -reference.log_softmax([s @ t / temperature for t in teacher])[i]
      for i, s in enumerate(student)
    ]
  )


def crd_bank_loss(anchors, rows, ids, temperature, normalizer=None):
  """One side of CRD with a bank, as the released code states it, less its eps.

  The first of `ids [B, 1 + K]` is the positive. Returns losses and Z.
  """
  size, negatives = len(rows), ids.shape[1] - 1
  out = np.array(
    [
      [math.exp(rows[k] @ anchor / temperature) for k in ids[n]]
      for n, anchor in enumerate(anchors)
    ]
  )
  if normalizer is None:
    normalizer = out.mean() * size
  noise = negatives / size
  losses = np.zeros(len(anchors))
  for n in range(len(anchors)):
    for k, p in enumerate(out[n] / normalizer):
      losses[n] -= math.log((p if k == 0 else noise) / (p + noise))
  return losses, normalizer


def updated_rows(rows, ids, projections, momentum):
  """A bank after a batch."""
  rows = np.array(rows, np.float64)
  for n, projection in zip(ids, projections, strict=True):
    rows[n] = unit(momentum * rows[n] + (1 - momentum) * projection)
  return rows
