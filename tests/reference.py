"""The mathematics of the paper in NumPy: float64, loops, slow and obvious.

Written from the paper (Algorithms 1-3 of its appendix G, equation (1)) and
from the resolutions A-n of its reading, never from the library, which it does
not import: the tests compare the two. Every argument is converted to float64
first, so "the same inputs" means the inputs after their own rounding.
"""

import math

import numpy as np

# --- Algorithm 1: the subspaces ----------------------------------------------


def class_moments(embeddings, labels, num_classes, where=None):
  """Count, mean and scatter about the mean of each class.

  Algorithm 1, "matrix of teacher features for class c", for its PCA, which is
  centred (A-5). The scatter is a sum, not an average. `where` holds a weight
  for each row; a row of weight zero is not looked at.

  Returns:
    `count [C]`, `mean [C, D]`, `scatter [C, D, D]`.
  """
  embeddings = np.asarray(embeddings, np.float64)
  if where is None:
    where = np.ones(len(embeddings))
  weights = np.asarray(where, np.float64)
  width = embeddings.shape[1]
  count = np.zeros(num_classes)
  mean = np.zeros((num_classes, width))
  scatter = np.zeros((num_classes, width, width))
  for c in range(num_classes):
    rows = [n for n in range(len(labels)) if weights[n] > 0 and labels[n] == c]
    if not rows:
      continue
    count[c] = sum(weights[n] for n in rows)
    mean[c] = sum(weights[n] * embeddings[n] for n in rows) / count[c]
    for n in rows:
      deviation = embeddings[n] - mean[c]
      scatter[c] += weights[n] * np.outer(deviation, deviation)
  return count, mean, scatter


def head_bases(head_kernel, width, null_space="weights", rtol=5e-3):
  """Orthonormal bases of what the projection removes and of what it keeps.

  Algorithm 1, "QR decomposition of W_T", by singular values so that a head of
  rank C - 1 loses C - 1 directions (A-2); `null_space` is the switch of A-3.

  Returns:
    `removed [D, r]` and `kept [D, D - r]`.
  """
  if null_space == "none":
    return np.zeros((width, 0)), np.eye(width)
  kernel = np.asarray(head_kernel, np.float64)
  if null_space == "weight_differences":
    # The softmax sees no multiple of the mean kernel, hence only differences.
    kernel = kernel - kernel.mean(axis=1, keepdims=True)
  left, singular, _ = np.linalg.svd(kernel, full_matrices=True)
  rank = 0
  for value in singular:
    if value > rtol * singular[0]:
      rank += 1
  return left[:, :rank], left[:, rank:]


def principal_directions(scatter, count, kept, num_directions):
  """Principal directions of one class inside the null space of the head.

  Algorithm 1, "H - H W W^T" (A-1) and "top-S PCA". Working in coordinates of
  `kept [D, D - r]` is the projection. The largest entry of each direction is
  positive.

  Returns:
    `directions [K, D]`, orthonormal rows, and `variances [K]`, descending.
  """
  covariance = kept.T @ scatter @ kept / count
  variances, vectors = np.linalg.eigh(covariance)
  directions = []
  for k in np.argsort(variances)[::-1][:num_directions]:
    direction = kept @ vectors[:, k]
    if direction[np.argmax(np.abs(direction))] < 0:
      direction = -direction
    directions.append(direction)
  return np.array(directions), np.sort(variances)[::-1][:num_directions]


def centroid_log_softmax(embedding, centroids, kept, variance, temperature):
  """Log-probabilities of the clusters of one class, `[K]`, for one example.

  A variant that the paper does not have: `-|h - m_k|^2 / (2 s^2 beta)` in
  coordinates of `kept [D, D - r]`, with `s^2 = variance`.
  """
  point = np.asarray(embedding, np.float64) @ kept
  logits = []
  for centroid in np.asarray(centroids, np.float64):
    distance = sum((point - centroid @ kept) ** 2)
    logits.append(-distance / (2 * variance * temperature))
  return log_softmax(logits)


def variances_along(directions, scatter, count):
  """Variance of a class along each row: (1/N_c) |H v|^2, centred (A-5)."""
  return np.array([v @ scatter @ v / count for v in directions])


def rotate_and_normalize(directions, rotation, scatter, count):
  """`Q V` (A-4), divided by the largest standard deviation (A-6).

  Algorithm 1, from "Set v <- Q v" to "Normalize v".
  """
  rotated = np.asarray(rotation, np.float64) @ directions
  largest = 0.0
  for variance in variances_along(rotated, scatter, count):
    largest = max(largest, math.sqrt(variance))
  return rotated / largest


def projector(directions):
  """Orthogonal projector on the span of the nonzero rows `[S, D]`."""
  directions = np.asarray(directions, np.float64)
  rows = directions[np.linalg.norm(directions, axis=1) > 0]
  if not len(rows):
    return np.zeros((directions.shape[1],) * 2)
  basis = np.linalg.qr(rows.T)[0]
  return basis @ basis.T


# --- Algorithm 2: subsplit ---------------------------------------------------


def log_softmax(logits):
  """Logarithm of the softmax of a vector, shifted by its largest entry."""
  logits = np.asarray(logits, np.float64)
  shifted = logits - np.max(logits)
  return shifted - math.log(sum(math.exp(value) for value in shifted))


def subclass_logits(embedding, directions, means):
  """Algorithm 2: `z_{c,s} = v_{c,s}^T (h - mu_c)`, `[C, S]`, one example."""
  embedding = np.asarray(embedding, np.float64)
  directions = np.asarray(directions, np.float64)
  means = np.asarray(means, np.float64)
  logits = np.zeros(directions.shape[:2])
  for c in range(directions.shape[0]):
    deviation = embedding - means[c]
    for s in range(directions.shape[1]):
      logits[c, s] = directions[c, s] @ deviation
  return logits


def log_subsplit(
  embedding,
  class_logits,
  directions,
  means,
  temperature,
  subclass_temperature,
  where=None,
):
  """Algorithm 2 for one example, in logarithms: `log p_{c,s}`, `[C, S]`.

  Class logits are the teacher's own (A-8). A subclass that `where` masks does
  not exist: it has probability zero and takes part in no sum.
  """
  logits = subclass_logits(embedding, directions, means)
  class_part = log_softmax(np.asarray(class_logits, np.float64) / temperature)
  result = np.full(logits.shape, -math.inf)
  for c in range(logits.shape[0]):
    exists = np.full(logits.shape[1], True) if where is None else where[c]
    result[c, exists] = class_part[c] + log_softmax(
      logits[c, exists] / subclass_temperature
    )
  return result


# --- Algorithm 3: the loss and the prediction --------------------------------


def kl_divergence(log_p, log_q):
  """`sum_i p_i log(p_i / q_i)`, where `p_i = 0` adds nothing."""
  total = 0.0
  for log_p_i, log_q_i in zip(log_p, log_q, strict=True):
    if log_p_i > -math.inf:
      total += math.exp(log_p_i) * (log_p_i - log_q_i)
  return total


def kd_loss(student_logits, teacher_logits, temperature):
  """Vanilla distillation of one example with `tau^2 KL`."""
  teacher = log_softmax(np.asarray(teacher_logits, np.float64) / temperature)
  student = log_softmax(np.asarray(student_logits, np.float64) / temperature)
  return temperature**2 * kl_divergence(teacher, student)


def student_log_probs(student_logits, num_classes, temperature):
  """Algorithm 3: softmax over all `C * S` logits, as logarithms `[C, S]`.

  The subclasses of a class are contiguous.
  """
  logits = np.asarray(student_logits, np.float64)
  return log_softmax(logits / temperature).reshape(num_classes, -1)


def lelp_loss(student_logits, teacher_log_probs, temperature):
  """Algorithm 3, one example: `tau^2 KL` over the `C * S` subclasses (A-15)."""
  teacher = np.asarray(teacher_log_probs, np.float64)
  student = student_log_probs(student_logits, len(teacher), temperature)
  return temperature**2 * kl_divergence(teacher.ravel(), student.ravel())


def log_sum_exp(values):
  """Logarithm of a sum of exponentials; of nothing but -inf, -inf."""
  largest = np.max(values)
  if largest == -math.inf:
    return -math.inf
  return largest + math.log(sum(math.exp(v - largest) for v in values))


def lelp_loss_terms(student_logits, teacher_log_probs, temperature):
  """The chain rule of the divergence, one example: class and subclass terms.

  `KL(p_c^T || p_c^S)` and `sum_c p_c^T KL(p_{s|c}^T || p_{s|c}^S)`, both times
  `tau^2`.
  """
  teacher = np.asarray(teacher_log_probs, np.float64)
  student = student_log_probs(student_logits, len(teacher), temperature)
  teacher_class = [log_sum_exp(row) for row in teacher]
  student_class = [log_sum_exp(row) for row in student]
  within = 0.0
  for c in range(len(teacher)):
    if teacher_class[c] > -math.inf:
      within += math.exp(teacher_class[c]) * kl_divergence(
        teacher[c] - teacher_class[c], student[c] - student_class[c]
      )
  return (
    temperature**2 * kl_divergence(teacher_class, student_class),
    temperature**2 * within,
  )


def class_log_probs(student_logits, num_classes, temperature):
  """Algorithm 3, prediction: `log sum_s p_{c,s}`, `[C]`, one example (A-13)."""
  student = student_log_probs(student_logits, num_classes, temperature)
  return np.array([log_sum_exp(row) for row in student])


def gradient(function, point, step=1e-5):
  """Central differences of a scalar function of a vector."""
  point = np.asarray(point, np.float64)
  result = np.zeros_like(point)
  for i in range(point.size):
    offset = np.zeros_like(point)
    offset[i] = step
    result[i] = (function(point + offset) - function(point - offset)) / (
      2 * step
    )
  return result
