"""Token ids by transformers and SentencePiece, for data/test_tokenizer.py.

  pip install -e '.[reference]'
  LELP_DATA=DIR python -m tests.goldens.tokenizer_ids

Each text has ids of three kinds, over ALBERT's 30,000 pieces:

* "transformers": `AlbertTokenizer` on a `tokenizer.json` as the hub has it for
  `albert/albert-base-v2`. It dates from before huggingface/transformers#31305:
  only the five special pieces are added tokens.
* "sentencepiece": `preprocess_text` and `encode_pieces` of google-research/
  albert, tokenization.py, the quotation marks replaced as transformers does.
* "bare_model": `AlbertTokenizer` on `spiece.model` alone. Since that change it
  makes "(", ")", '"', "-", ".", "–", "£" and "€" added tokens, after which a
  new word starts. ALBERT was pretrained without that; kept to see it change.
"""

import json
import os
import pathlib
import shutil
import tempfile
import types
import unicodedata

TEXTS = (
  "this is a test",
  "i was born in 92000, and this is falsé.",
  "Hello, World! It's FINE.",
  "",
  "   \t\n ",
  "two  spaces,\ttabs\tand\n\nlines \r\n",
  "``quoted'' and ''twice`` and '''thrice```",
  '(a-b) c.d "quoted" [brackets] {braces}',
  "e-mail, well-known, U.S.A. and end.",
  "great!<br /><br />Really-good",
  "http://www.example.com/a?b=1&c=%20#d",
  "someone@example.org @user #tag",
  "9, 99, 1,000, 2,500,000, and 9,9,9",
  "in 1995, she won 3.50, then 7,",
  "²³ x²,",
  "£5 – €6 — $7",
  "½ ① ﬁ ™ … ㎏ ｆｕｌｌ",
  "naïve café ÀÉÎÕÜ ñ ç ø ł đ",
  "e\u0301 combining, a\u0308\u0323 twice",
  "İstanbul DŽ ΑΣ ß ẞ",
  "日本語のテスト 中文 한국어",
  "Привет мир, γειά σου, שלום",
  "🙂 ok 👩‍👩‍👧 🇫🇷",
  "[MASK] is [CLS] and [SEP], <unk> <pad>",
  "[mask]x[MASK]y",
  "▁x ▁ _y_",
  "zero\u200bwidth no\u00a0break \ufeffmark soft\u00adhyphen",
  "nul\x00bell\x07 \ufffd",
  "pneumonoultramicroscopicsilicovolcanoconiosis",
  "x" * 200,
  "soooo goooood!!!!! :-) :( ... .....",
  "don't can't I'll we've o'clock 'tis",
  "C++ c# .net a/b a\\b a|b a^b ~`",
  "İ̇ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟗𝟗,",
)
OUTPUT = pathlib.Path(__file__).with_suffix(".json")


def main() -> None:
  """Writes the ids."""
  import sentencepiece
  from transformers import AlbertTokenizer

  source = pathlib.Path(os.environ["LELP_DATA"]) / "albert_vocab"
  with tempfile.TemporaryDirectory() as folder:
    bare = pathlib.Path(folder) / "bare"
    bare.mkdir()
    model = bare / "spiece.model"
    shutil.copy(source / "albert_30k_clean_rebuilt.model", model)
    like_hub = pathlib.Path(folder) / "like_hub"
    like_hub.mkdir()
    (like_hub / "tokenizer.json").write_text(_json_as_on_the_hub(model))
    from_json = AlbertTokenizer.from_pretrained(like_hub)
    from_model = AlbertTokenizer.from_pretrained(bare)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    goldens = [
      {
        "text": text,
        "transformers": from_json(text)["input_ids"],
        "sentencepiece": _google_ids(processor, text),
        "bare_model": from_model(text)["input_ids"],
      }
      for text in TEXTS
    ]
  lines = ",\n".join(json.dumps(golden) for golden in goldens)
  OUTPUT.write_text(f"[\n{lines}\n]\n")


def _json_as_on_the_hub(model: pathlib.Path) -> str:
  """Converts a SentencePiece model as transformers did before #31305."""
  from transformers.convert_slow_tokenizer import AlbertConverter

  slow = types.SimpleNamespace(
    vocab_file=str(model),
    keep_accents=False,
    do_lower_case=True,
    convert_tokens_to_ids={"[CLS]": 2, "[SEP]": 3}.__getitem__,
  )
  saved = json.loads(AlbertConverter(slow).converted().to_str())
  like = saved["added_tokens"][0]
  names = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
  saved["added_tokens"] = [
    like | {"id": i, "content": name, "special": True}
    for i, name in enumerate(names)
  ]
  saved["pre_tokenizer"] = {
    "type": "Sequence",
    "pretokenizers": [{"type": "WhitespaceSplit"}, saved["pre_tokenizer"]],
  }
  return json.dumps(saved)


def _google_ids(processor, text: str) -> list[int]:
  """Ids as google-research/albert computes them."""
  text = " ".join(text.split()).replace("``", '"').replace("''", '"')
  text = unicodedata.normalize("NFKD", text)
  text = "".join(c for c in text if not unicodedata.combining(c)).lower()
  pieces = []
  for piece in processor.EncodeAsPieces(text):
    if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
      again = processor.EncodeAsPieces(piece[:-1].replace("▁", ""))
      if not piece.startswith("▁"):
        again = [again[0].removeprefix("▁"), *again[1:]]
      pieces += [p for p in again if p] + [","]
    else:
      pieces.append(piece)
  return [2, *map(processor.PieceToId, pieces), 3]


if __name__ == "__main__":
  main()
