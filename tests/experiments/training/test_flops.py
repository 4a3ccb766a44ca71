import jax
import jax.numpy as jnp

from experiments.training.flops import matmul_flops


def test_products_convolutions_and_loops_are_counted():
  def function(x, kernel, image):
    def body(carry, _):
      return jnp.tanh(carry @ x), None

    carry, _ = jax.lax.scan(body, jnp.ones((3, 5)), length=7)
    images = jax.lax.conv_general_dilated(
      image,
      kernel,
      (2, 2),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=2,
    )
    return carry.sum() + images.sum()

  x, kernel = jnp.ones((5, 5)), jnp.ones((3, 3, 1, 4))
  image = jnp.ones((1, 8, 8, 2))
  # Seven products of 3 x 5 by 5 x 5; 4 x 4 x 4 outputs of nine weights each.
  expected = 7 * 2 * 3 * 5 * 5 + 2 * 9 * 4 * 4 * 4
  assert matmul_flops(jax.jit(function), x, kernel, image) == expected
