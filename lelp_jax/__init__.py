"""Learning from Embedding Linear Projections (LELP), in JAX.

Pure functions for the steps of the paper: moments of the teacher's embeddings,
subspaces fitted to these moments, the pseudo-subclasses that the subspaces
define, and the distillation loss over the pseudo-subclasses. See
https://arxiv.org/abs/2409.20449.
"""

from lelp_jax import _serialization  # noqa: F401
from lelp_jax.ablations import identity_subspaces
from lelp_jax.ablations import random_subspaces
from lelp_jax.centroids import centroid_subspaces
from lelp_jax.centroids import project_off_head
from lelp_jax.centroids import variance_of_perplexity
from lelp_jax.coordinates import coordinate_directions
from lelp_jax.coordinates import principal_coordinates
from lelp_jax.coordinates import subspace_coordinates
from lelp_jax.distill import class_log_probs
from lelp_jax.distill import lelp_loss
from lelp_jax.distill import lelp_loss_terms
from lelp_jax.moments import class_moments
from lelp_jax.moments import ClassMoments
from lelp_jax.moments import merge_moments
from lelp_jax.principal import null_space_share
from lelp_jax.principal import principal_directions
from lelp_jax.principal import PrincipalDirections
from lelp_jax.sketches import class_sketch
from lelp_jax.sketches import ClassSketch
from lelp_jax.sketches import merge_sketches
from lelp_jax.sketches import sketch_probe
from lelp_jax.splitting import log_subsplit
from lelp_jax.splitting import subsplit
from lelp_jax.subspaces import binary_head
from lelp_jax.subspaces import fit_subspaces
from lelp_jax.subspaces import fit_subspaces_from_moments
from lelp_jax.subspaces import Subspaces
from lelp_jax.subspaces import subspaces_from_principal
from lelp_jax.subspaces import variance_share
from lelp_jax.version import __version__

__all__ = [
  # Streaming moments (Algorithm 1, appendix G.1).
  "ClassMoments",
  "class_moments",
  "merge_moments",
  # Sketches in place of moments, for wide embeddings.
  "ClassSketch",
  "sketch_probe",
  "class_sketch",
  "merge_sketches",
  # Step 1: subspaces (Algorithm 1).
  "PrincipalDirections",
  "principal_directions",
  "Subspaces",
  "subspaces_from_principal",
  "fit_subspaces",
  "fit_subspaces_from_moments",
  "random_subspaces",
  "identity_subspaces",
  "centroid_subspaces",
  "project_off_head",
  "variance_of_perplexity",
  "variance_share",
  "null_space_share",
  "binary_head",
  # Step 2: pseudo-subclasses (Algorithm 2).
  "subsplit",
  "log_subsplit",
  "subspace_coordinates",
  # Coordinates that replace embeddings in step 2, for caches.
  "principal_coordinates",
  "coordinate_directions",
  # Step 3: loss and prediction (Algorithm 3).
  "lelp_loss",
  "lelp_loss_terms",
  "class_log_probs",
  "__version__",
]
