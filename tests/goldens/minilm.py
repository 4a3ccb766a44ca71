"""Golden embeddings of a few sentences by the published all-MiniLM-L6-v2.

Writes `minilm.npz` beside itself: ids, mask, and the means of the last hidden
states, computed by transformers in float64. Needs the extra `reference` and the
model's files in a folder:

    LELP_MINILM=DIR python -m tests.goldens.minilm
"""

import os
import pathlib

import numpy as np

SENTENCES = (
  "It's a charming and often affecting journey.",
  "unflinchingly bleak and desperate",
  "The acting, costumes, music, cinematography and sound are all astounding "
  "given the production's austere locales.",
  "no",
)


def main():
  import tokenizers
  import torch
  import transformers

  folder = os.environ["LELP_MINILM"]
  tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
  tokenizer.no_truncation()
  tokenizer.enable_padding()
  rows = tokenizer.encode_batch(SENTENCES)
  ids = np.array([row.ids for row in rows])
  mask = np.array([row.attention_mask for row in rows])
  model = transformers.AutoModel.from_pretrained(folder).double().eval()
  with torch.no_grad():
    hidden = model(
      input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)
    ).last_hidden_state.numpy()
  weights = mask[:, :, None]
  mean = (hidden * weights).sum(1) / weights.sum(1)
  path = pathlib.Path(__file__).with_name("minilm.npz")
  np.savez_compressed(
    path,
    input_ids=ids.astype(np.int32),
    attention_mask=mask.astype(np.int8),
    mean=mean.astype(np.float32),
  )
  print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
  main()
