"""What rows of a table are called that are a method with a setting."""

# Ablations of LELP (appendix C), and what the reviewers asked (spec 9).
TITLES = {
  "lelp_pca": "LELP, plain principal directions",
  "lelp_random": "LELP, random directions",
  "lelp_random_ensemble": "LELP, ensembles of random directions",
  "lelp_identity": "LELP, all coordinates",
  "lelp_differences": "LELP, off the differences of weights",
  "lelp_unprojected": "LELP, without the projection",
  "lelp_num_subclasses": "LELP, S varied",
  "lelp_subclass_temperature": "LELP, β varied",
  "lelp_temperature": "LELP, τ varied",
  "lelp_rotation": "LELP, rotation varied",
  "lelp_subclass_weight": "LELP, inner weight varied",
}
