"""`experiments.distill` from a teacher of arrays to an exported student."""

import csv
import dataclasses
import gzip
import json
import os
import pathlib
import re
import signal

import numpy as np
import pytest

from experiments import results
from experiments import specs
from experiments.configs import candidates
from experiments.distillation import description
from experiments.distillation import diagnosis
from experiments.distillation import pipeline
from experiments.distillation import predictor
from experiments.distillation import student_models
from experiments.distillation import teachers
from experiments.distributed.signals import Interrupted
from experiments.training import data
from experiments.training import sweep
from tests.experiments.distillation import requests
from tests.experiments.processes import command_anew

OWN = "tests.experiments.distillation.own_student:make"


def trials(workdir):
  """The result of each cell, by method, settings and trial."""
  paths = workdir.glob("cells/*/*/*/trial*/result.json")
  return {path.parts[-4:-1]: path.stat().st_mtime_ns for path in paths}


@dataclasses.dataclass
class Run:
  """A finished distillation that was interrupted twice.

  Once before its first stage, once after it.
  """

  folder: pathlib.Path
  summary: str
  first_message: str
  first_stage: dict[tuple[str, ...], int]

  @property
  def workdir(self):
    return self.folder / "run"


@pytest.fixture(name="run", scope="module")
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp("distill")
  requests.write(folder)
  # Wrong labels, which are the mistakes of a good student.
  rows = (folder / "reviews.csv").read_text().splitlines()
  for place in range(1, 109, 7):
    text, _, label = rows[place].rpartition(",")
    rows[place] = f"{text},{'bad' if label == 'good' else 'good'}"
  (folder / "reviews.csv").write_text("\n".join(rows) + "\n")
  run_cells, diagnose = sweep.run_cells, diagnosis.diagnose

  def interrupted(cells, *args, **kwargs):
    if cells[0].trial:
      raise Interrupted(signal.SIGTERM, "all of it")
    return run_cells(cells, *args, **kwargs)

  def signalled(*args):
    os.kill(os.getpid(), signal.SIGTERM)
    return diagnose(*args)

  def few(**sizes):
    del sizes
    return {
      "vanilla": {"loss": {"temperature": (2.0, 4.0)}},
      # As many cells as there are trials to add: one compilation.
      "lelp": {
        "loss": {"temperature": (2.0, 4.0)},
        "subspace": {"num_subclasses": 3},
      },
    }

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(candidates, "NUM_TRIALS", 3)
    patch.setattr(candidates, "grids", few)
    patch.setattr(sweep, "run_cells", interrupted)
    patch.setattr(diagnosis, "diagnose", signalled)
    with pytest.raises(Interrupted) as stopped:
      pipeline.distill(requests.request(folder))
    assert not (folder / "run" / "cells").exists()
    patch.setattr(diagnosis, "diagnose", diagnose)
    with pytest.raises(Interrupted):
      pipeline.distill(requests.request(folder))
    first = trials(folder / "run")
    patch.setattr(sweep, "run_cells", run_cells)
    summary = pipeline.distill(requests.request(folder))
  return Run(folder, summary, str(stopped.value), first)


def test_a_signal_before_training_says_what_is_kept(run):
  assert f"SIGTERM; the teacher's outputs are in {run.workdir}" in (
    run.first_message
  )
  assert "run the same command again" in run.first_message


def test_second_stage_adds_trials_to_the_chosen_settings(run):
  found = trials(run.workdir)
  assert len(run.first_stage) == 4
  # Nothing is trained again: trials 1 and 2 of one setting per method come.
  assert run.first_stage.items() <= found.items()
  added = found.keys() - run.first_stage.keys()
  assert len(added) == 4
  assert {trial for *_, trial in added} == {"trial1", "trial2"}
  described = results.read(run.workdir, results.SweepDescription)
  assert described.num_tried == {"vanilla": 2, "lelp": 2}
  best = {}
  for method, digest, trial in run.first_stage:
    cell = results.read(
      run.workdir / "cells" / "static" / method / digest / trial,
      results.CellResult,
    )
    score = cell.validation.accuracy, -cell.validation.loss
    best[method] = max(best.get(method, ((-1.0, 0.0), "")), (score, digest))
  assert {digest for _, digest, _ in added} == {d for _, d in best.values()}


def test_rows_without_a_label_are_transfer_data(run):
  paths = run.workdir.glob("cells/*/vanilla/*/trial0")
  cell = results.read(next(paths), results.CellResult)
  assert cell.num_unlabelled_examples == 12
  assert cell.test.num_examples == 22


def test_it_leaves_a_student_and_a_report(run):
  files = {path.name for path in (run.workdir / "student").iterdir()}
  assert files >= {
    *("model.safetensors", "config.json", "tokenizer.json", "labels.json"),
    *("model.onnx", "model.jaxexport", "README.md"),
  }
  labels = json.loads((run.workdir / "student" / "labels.json").read_text())
  assert labels == ["bad", "good"]
  for name in ("report.html", "table.md"):
    text = (run.workdir / "report" / name).read_text()
    assert "Recommendation" in text
    assert "Confusion matrix" in text
  assert "The most confident mistakes" in text
  assert "Exported: " in run.summary
  assert "agreement" in run.summary
  student, _ = description.read(run.workdir / "student")
  chosen = re.findall(r"^Exported: .*\(temperature ([\d.]+)", run.summary, re.M)
  assert [student.temperature] == [float(text) for text in chosen]
  assert student.calibration_temperature != 1
  card = (run.workdir / "student" / "README.md").read_text()
  assert f"| Log loss | {exported_scores(run.summary)[3]:.3f} |" in card
  assert (run.workdir / "diagnosis").is_dir()
  assert not list(run.workdir.glob("checkpoints/*"))


def test_a_finished_command_prints_its_result_again(run, monkeypatch):
  def refuse(*args, **kwargs):
    raise AssertionError("nothing should be prepared or trained")

  monkeypatch.setattr(sweep, "run_cells", refuse)
  monkeypatch.setattr(pipeline.teachers, "prepare_teacher", refuse)
  assert pipeline.distill(requests.request(run.folder)) == run.summary
  with pytest.raises(ValueError, match=r"--workdir=.*another command: student"):
    pipeline.distill(requests.request(run.folder, student="static:width=5"))
  request = requests.request(run.folder, given={"student.num_steps": 7})
  with pytest.raises(ValueError, match=r": config.student.num_steps: saved 6,"):
    pipeline.distill(request)
  request = dataclasses.replace(requests.request(run.folder), given={})
  with pytest.raises(ValueError, match=r"num_steps: saved 6, now nothing") as e:
    pipeline.distill(request)
  assert "{}" not in str(e.value)


def test_another_method_is_exported_without_training(run, monkeypatch):
  monkeypatch.setattr(pipeline.search, "run", None)  # Nothing is trained.
  other = "vanilla" if "Exported: LELP" in run.summary else "lelp"
  title = {"vanilla": "Vanilla distillation", "lelp": "LELP"}[other]
  before = trials(run.workdir)
  request = requests.request(run.folder, export=other)
  summary = pipeline.distill(request)
  assert f"\nExported: {title} (" in summary
  assert "which --export asked for" in summary
  card = run.workdir / "student" / "README.md"
  assert f"| method | {title} |" in card.read_text()
  assert "which --export asked for" in card.read_text()
  assert f"of {title} in trial" in (
    (run.workdir / "report" / "table.md").read_text()
  )
  assert pipeline.distill(request) == summary
  assert pipeline.distill(requests.request(run.folder)) == run.summary
  assert f"| method | {title} |" not in card.read_text()
  assert trials(run.workdir) == before


@pytest.mark.parametrize(
  ("name", "message"),
  [("student", "an exported student"), ("", "no finished teacher.*folder of")],
)
def test_a_result_of_arrays_is_no_teacher(run, name, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    teachers.prepare_teacher(
      str(run.workdir / name), requests.request(run.folder).data, tmp_path / "x"
    )
  assert not (tmp_path / "x").exists()


def test_the_report_has_the_scores_of_the_exported_file(run):
  (config,) = run.workdir.glob("cells/*/vanilla/*/trial1/config.json")
  cell = specs.from_plain(json.loads(config.read_text()))
  test = data.load_splits(cell, run.workdir).test
  rows = (run.folder / "reviews.csv").read_text().splitlines()[1:]
  found = predictor.Predictor(run.workdir / "student").predict(
    [rows[i].rpartition(",")[0] for i in test["ids"]]
  )
  labels = np.array([rows[i].rpartition(",")[2] == "good" for i in test["ids"]])
  assert labels.tolist() == test["labels"].tolist()
  np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
  check_scores(run.summary, found, labels.astype(int))


def exported_scores(summary):
  """Accuracy in % to log loss of the exported student in a summary."""
  # A wide table is shown in parts, of which the first has these columns.
  row, *_ = re.findall(r"^Exported, calibrated +(.*)", summary, re.M)
  return [float(text) for text in row.split()[:4]]


def check_scores(summary, probabilities, labels):
  """Compares a summary with the scores of an exported student's predictions."""
  accuracy, *_, loss = exported_scores(summary)
  right = probabilities[np.arange(len(labels)), labels]
  hits = 100 * np.mean(probabilities.argmax(axis=1) == labels)
  assert accuracy == pytest.approx(hits, abs=0.0051)
  assert loss == pytest.approx(-np.log(right).mean(), abs=6e-4)


# --- Mistakes -----------------------------------------------------------------


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"text_column": "body"}, "has no column 'body'"),
    ({"teacher": "no/such/one"}, "--teacher: 'no/such/one' is not"),
    ({"labels": ("good", "awful")}, "--teacher_labels"),
    ({"tokenizer": "no/such/tokenizer"}, "--tokenizer: .*no/such/tokenizer"),
    ({"student": "cnn"}, "cannot read texts"),
    ({"student": "static:width=0"}, "config.student"),
    (
      {"given": {"student.learning_rate": -1.0}},
      "config.student.learning_rate",
    ),
    (
      {"given": {"student.batch_size": 4096}},
      "config.student.batch_size=4096",
    ),
  ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, changes, message):
  requests.write(tmp_path)
  with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
    pipeline.distill(requests.request(tmp_path, **changes))
  assert "\n" not in str(error.value)
  assert not (tmp_path / "run").exists()


def test_what_was_in_the_workdir_before_a_mistake_is_kept(tmp_path):
  requests.write(tmp_path)
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "notes.txt").write_text("mine")
  with pytest.raises(FileNotFoundError):
    pipeline.distill(requests.request(tmp_path, teacher="no/such/one"))
  assert os.listdir(tmp_path / "run") == ["notes.txt"]
  (tmp_path / "run" / "sweep.json").write_text("{}")
  with pytest.raises(ValueError, match=r"--workdir=.*another command"):
    pipeline.distill(requests.request(tmp_path))


# --- Other students -----------------------------------------------------------


@pytest.fixture(name="distilled")
def with_one_setting(tmp_path, monkeypatch):
  """Returns a function that distils with a single setting."""
  monkeypatch.setattr(candidates, "NUM_TRIALS", 2)
  monkeypatch.setattr(candidates, "grids", lambda **sizes: {"vanilla": {}})

  def distil(**changes):
    pipeline.distill(requests.request(tmp_path, **changes))
    (path,) = (tmp_path / "run").glob("cells/*/*/*/trial0")
    predictor.Predictor(tmp_path / "run" / "student")  # It can be read.
    return specs.from_plain(json.loads((path / "config.json").read_text()))

  return distil


@pytest.mark.slow
@pytest.mark.parametrize(
  ("student", "expected"),
  [
    ("mlp:features=(4,)", {"student.input_field": "embeddings"}),
    (f"{OWN}:width=3", {"student.model": OWN, "column": "make"}),
  ],
)
def test_students_of_arrays(distilled, tmp_path, student, expected):
  requests.write(tmp_path)
  assert (
    expected.items() <= dict(specs.flat(distilled(student=student))).items()
  )


@pytest.mark.slow
def test_cnn_learns_from_arrays_of_a_model_of_images(distilled, tmp_path):
  arrays = requests.write(tmp_path)
  rng = np.random.default_rng(0)
  labels = arrays["logits"].argmax(axis=1)
  images = rng.integers(0, 99, (120, 8, 8, 3), np.uint8)
  images += np.uint8(150) * labels.astype(np.uint8)[:, None, None, None]
  np.savez(tmp_path / "images.npz", images=images, labels=labels)
  cell = distilled(
    train=str(tmp_path / "images.npz"),
    text_column="",
    label_column="",
    student="cnn:features=(4,),width=4",
  )
  assert cell.student.model == "cnn"
  assert not cell.student.is_augmented


# --- The commands -------------------------------------------------------------

SMALL = (
  "--student=static:width=16,features=(16,)",
  "--config.student.num_steps=60",
  "--config.student.steps_per_chunk=60",
)
# One setting per method.
ONE_SETTING = (
  "--config.loss.temperature=2",
  "--config.loss.subclass_temperature=1",
  "--config.subspace.num_subclasses=5",
  "--config.clustering.num_clusters=5",
)


@pytest.mark.slow
def test_the_commands_print_what_they_do(tmp_path):
  requests.write(tmp_path, num_rows=200)
  own = (
    f"--teacher={tmp_path / 'teacher'}",
    f"--data={tmp_path / 'reviews.csv'}",
    f"--workdir={tmp_path / 'run'}",
  )
  assert "LELP" in command_anew("diagnose", *own).stdout
  done = command_anew("distill", *own, *SMALL)
  assert "Exported: " in done.stdout
  assert "Training 14 settings of 5 methods" in done.stderr
  assert command_anew("distill", *own, *SMALL).stdout == done.stdout


def sst2(name, most):
  """Sentences and labels of SST-2."""
  if "LELP_DATA" not in os.environ:
    pytest.skip("LELP_DATA names no folder of real data")
  path = pathlib.Path(os.environ["LELP_DATA"], "sst2", f"{name}.tsv.gz")
  with gzip.open(path, "rt", encoding="utf-8") as file:
    rows = [line.rstrip("\n").split("\t") for line in file][1 : most + 1]
  return [row[0].strip() for row in rows], [int(row[1]) for row in rows]


def tiny_bert(transformers, folder):
  """A tiny BERT with random weights, and a tokenizer of its own."""
  texts, _ = sst2("train", 2000)
  path = folder / "tokenizer.json"
  path.write_text(student_models.train_tokenizer(texts, 2000))
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(path), pad_token="[PAD]", unk_token="[UNK]"
  )
  config = transformers.BertConfig(
    vocab_size=len(tokenizer),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    num_labels=2,
  )
  return transformers.BertForSequenceClassification(config), tokenizer


def minilm(transformers, folder):
  """MiniLM, an encoder, with a new head."""
  del folder
  if "LELP_MINILM" not in os.environ:
    pytest.skip("LELP_MINILM does not name a folder with all-MiniLM-L6-v2")
  name = os.environ["LELP_MINILM"]
  return (
    transformers.BertForSequenceClassification.from_pretrained(
      name, num_labels=2
    ),
    transformers.AutoTokenizer.from_pretrained(name),
  )


def write_stars(path, texts, labels):
  """Writes a table of reviews and their labels."""
  with path.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerows([("review", "stars"), *zip(texts, labels, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize(
  ("make", "rate", "num_steps", "least", "least_of_student"),
  # Teachers were right on 67.5 and 81.3 % of the test sentences, the student of
  # the first on 60.0 %: the margins are three standard errors or more. That of
  # MiniLM hardly learns in so few steps (53.7 %); its files are what is tested.
  [(tiny_bert, 3e-3, 120, 0.62, 0.55), (minilm, 2e-4, 40, 0.75, 0.0)],
)
def test_a_classifier_of_torch(
  make, rate, num_steps, least, least_of_student, tmp_path
):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  torch.manual_seed(0)
  torch.set_num_threads(1)  # Several wait for each other on a busy machine.
  model, tokenizer = make(transformers, tmp_path)

  def tokens(texts):
    return tokenizer(
      texts,
      padding=True,
      truncation=True,
      max_length=48,
      return_tensors="pt",
    )

  texts, labels = sst2("train", 2000)
  optimizer = torch.optim.AdamW(model.parameters(), rate)
  model.train()
  for rows in torch.randint(len(texts), (num_steps, 32)).tolist():
    batch = tokens([texts[row] for row in rows])
    targets = torch.tensor([labels[row] for row in rows])
    model(**batch, labels=targets).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
  model.eval().save_pretrained(tmp_path / "bert")
  tokenizer.save_pretrained(tmp_path / "bert")
  test_texts, test_labels = sst2("dev", 872)
  with torch.inference_mode():
    found = [
      model(**tokens(test_texts[row : row + 64])).logits.argmax(dim=1)
      for row in range(0, 872, 64)
    ]
  accuracy = np.mean(torch.cat(found).numpy() == test_labels)
  assert accuracy >= least

  names = ("negative", "positive")
  write_stars(tmp_path / "train.csv", texts, [names[y] for y in labels])
  write_stars(
    tmp_path / "test.csv", test_texts, [names[y] for y in test_labels]
  )
  own = (
    f"--teacher={tmp_path / 'bert'}",
    "--teacher_labels=negative,positive",
    f"--data={tmp_path / 'train.csv'}",
    f"--test={tmp_path / 'test.csv'}",
    "--label_column=stars",
    "--config.data.max_length=48",
    f"--workdir={tmp_path / 'run'}",
  )
  assert "LELP" in command_anew("diagnose", *own).stdout
  diagnosed = json.loads(
    (tmp_path / "run/diagnosis/diagnosis.json").read_text()
  )
  # One example may lie on the border.
  ours = diagnosed["scores"]["test"]["accuracy"]
  assert ours == pytest.approx(accuracy, abs=1.1 / 872)
  done = command_anew("distill", *own, *SMALL, *ONE_SETTING)
  command_anew(
    "predict",
    f"--student={tmp_path / 'run' / 'student'}",
    f"--data={tmp_path / 'test.csv'}",
    f"--output={tmp_path / 'predictions.csv'}",
  )
  with (tmp_path / "predictions.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  probabilities = np.array(
    [[float(row[f"p_{name}"]) for name in names] for row in rows]
  )
  assert [row["review"] for row in rows] == test_texts
  assert [names.index(row["label"]) for row in rows] == (
    probabilities.argmax(axis=1).tolist()
  )
  check_scores(done.stdout, probabilities, np.array(test_labels))
  assert np.mean(probabilities.argmax(axis=1) == test_labels) >= (
    least_of_student
  )
