"""The models in plain torch, as references for the speed and memory of ours.

ResNet v2 and MobileNet follow the same Keras definitions as
`lelp_jax.models`; ALBERT is that of transformers. Weights are random, since
only time and memory are compared.
"""

import torch
import torch.nn.functional as F
import transformers
from torch import nn


def _norm(channels: int) -> nn.Module:
  # torch's momentum is the weight of the new value.
  return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Bottleneck(nn.Module):
  """Three times BN, ReLU and convolution, plus the input or a 1x1 of it."""

  def __init__(
    self,
    channels: tuple[int, int, int],
    stride: int,
    first: bool,
    project: bool,
  ):
    super().__init__()
    inputs, width, outputs = channels
    self.before = (
      nn.Identity() if first else nn.Sequential(_norm(inputs), nn.ReLU())
    )
    self.layers = nn.Sequential(
      nn.Conv2d(inputs, width, 1, stride),
      _norm(width),
      nn.ReLU(),
      nn.Conv2d(width, width, 3, 1, 1),
      _norm(width),
      nn.ReLU(),
      nn.Conv2d(width, outputs, 1),
    )
    self.shortcut = (
      nn.Conv2d(inputs, outputs, 1, stride) if project else nn.Identity()
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.shortcut(x) + self.layers(self.before(x))


def resnet(depth: int, num_outputs: int) -> nn.Module:
  """Makes the Keras example's ResNet v2 of depth 9n+2."""
  layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1), _norm(16), nn.ReLU()]
  inputs, width = 16, 16
  for stage in range(3):
    outputs = 4 * width if stage == 0 else 2 * width
    for block in range((depth - 2) // 9):
      stride = 2 if stage and not block else 1
      layers.append(
        Bottleneck(
          (inputs, width, outputs), stride, not stage and not block, not block
        )
      )
      inputs = outputs
    width = outputs
  layers += [_norm(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
  return nn.Sequential(*layers, nn.Linear(inputs, num_outputs))


def mobilenet(width: int, depth: int, num_outputs: int) -> nn.Module:
  """Makes Keras' MobileNet with both multipliers."""
  channels = 32 * width
  layers: list[nn.Module] = [
    nn.ZeroPad2d((0, 1, 0, 1)),
    nn.Conv2d(3, channels, 3, 2, bias=False),
    _norm(channels),
    nn.ReLU6(),
  ]
  blocks = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))
  blocks += ((512, 1),) * 5 + ((1024, 2), (1024, 1))
  for filters, stride in blocks:
    inside, outputs = channels * depth, filters * width
    if stride == 2:
      layers.append(nn.ZeroPad2d((0, 1, 0, 1)))
    layers += [
      nn.Conv2d(
        channels, inside, 3, stride, stride % 2, groups=channels, bias=False
      ),
      _norm(inside),
      nn.ReLU6(),
      nn.Conv2d(inside, outputs, 1, bias=False),
      _norm(outputs),
      nn.ReLU6(),
    ]
    channels = outputs
  layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
  return nn.Sequential(*layers, nn.Linear(channels, num_outputs))


def mlp(inputs: int, width: int, num_outputs: int) -> nn.Module:
  """Makes an MLP with two hidden layers."""
  return nn.Sequential(
    nn.Linear(inputs, width),
    nn.ReLU(),
    nn.Linear(width, width),
    nn.ReLU(),
    nn.Linear(width, num_outputs),
  )


class Albert(nn.Module):
  """The ALBERT classifier of transformers, from token ids to logits."""

  def __init__(
    self, hidden: int, layers: int, heads: int, inside: int, num_outputs: int
  ):
    super().__init__()
    config = transformers.AlbertConfig(
      hidden_size=hidden,
      num_hidden_layers=layers,
      num_attention_heads=heads,
      intermediate_size=inside,
      hidden_dropout_prob=0.0,
      attention_probs_dropout_prob=0.0,
      num_labels=num_outputs,
    )
    self.model = transformers.AlbertForSequenceClassification(config)

  def forward(self, ids: torch.Tensor) -> torch.Tensor:
    return self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def run(model: nn.Module, inputs: torch.Tensor, backward: bool) -> torch.Tensor:
  """Runs a forward pass, or one forward and backward in training mode."""
  if not backward:
    with torch.inference_mode():
      return model(inputs)
  model.zero_grad(set_to_none=True)
  labels = torch.arange(len(inputs), device=inputs.device) % 2
  loss = F.cross_entropy(model(inputs), labels)
  loss.backward()
  return loss.detach()
