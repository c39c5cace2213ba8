"""The plan's arithmetic, its boundaries and what it warns of; the table of docs/scale.md against what is counted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sim4seg.cli import app
from sim4seg.errors import ConfigError
from sim4seg.model.presets import PRESETS
from sim4seg.plan.activation_memory import Activations, Line
from sim4seg.plan.budget import Machine, Run
from sim4seg.plan.dry_run import Lengths
from sim4seg.plan.fitting_machines import fits_on
from sim4seg.plan.make_budget import make_budget
from sim4seg.plan.report import HEAD, describe, table
from sim4seg.plan.static_memory import Counts, precision_of, static_memory
from sim4seg.plan.step_cost import Cost, cost_of, count_weights, trained_on_meta
from sim4seg.training.lora import trained_count

ROOT = Path(__file__).parents[2]


def line(fixed, each):
    return Activations(fixed + each, Line(fixed, each), Line(0, each))


COST = Cost(
    preset="paper",
    precision=precision_of("zero2", "bfloat16"),
    lengths=Lengths((16, 16), 96, 256),
    parameters=7_000_000_000,
    trainable=300_000_000,
    counts=Counts(6_700_000_000, 300_000_000, 200_000_000, 280_000_000),
    forward=14 * 10**12,
    backward=9 * 10**12,
    recomputed=7 * 10**12,
    kept=line(10**8, 5 * 10**9),
    checkpointed=line(10**8, 2 * 10**9),
    cache_a_token=1_048_576,
    embedding=2 * 2**20,
    sam_encoder=6 * 10**12,
)
MACHINE = Machine(gpus=8, memory=80, spare=0.0)


def command(*options):
    return CliRunner().invoke(app, ["plan", *options])


@pytest.mark.parametrize("memory", [24, 48, 80, 141])
def test_the_largest_batch_fits_and_one_more_does_not(memory):
    budget = make_budget(COST, replace(MACHINE, memory=memory), Run())
    for batch, mode in ((budget.largest_kept, COST.kept), (budget.largest_checkpointed, COST.checkpointed)):
        assert budget.held.total + mode.of(batch) <= memory * 1e9 or batch == 0
        assert budget.held.total + mode.of(batch + 1) > memory * 1e9


@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_largest_batch_operations_and_hours_follow_checkpointing(checkpointing):
    budget = make_budget(COST, replace(MACHINE, tflops=100, mfu=0.5), Run(checkpointing=checkpointing))
    operations = 30e12 if checkpointing else 23e12
    assert budget.operations == operations
    assert budget.hours == pytest.approx(operations * 640_000 / (8 * 50e12) / 3600)
    assert budget.largest == (budget.largest_checkpointed if checkpointing else budget.largest_kept)
    assert f"{operations * 160 / 1e12:.0f} TFLOP for 160 samples" in describe(budget)


@pytest.mark.parametrize("name", ["1gpu", "8gpu", "64gpu"])
def test_as_it_stands_the_run_is_that_of_the_shipped_settings(name):
    train = yaml.safe_load((ROOT / f"infra/train/params/{name}.yaml").read_text())["train"]
    batch = train["batch_size"] * train["accumulation"]
    shipped = Run(train["steps_per_epoch"], train["epochs"], batch, checkpointing=train["gradient_checkpointing"])
    assert shipped.seen == Run().seen == 640_000
    assert shipped.checkpointing == Run().checkpointing
    assert Run().dtype == "bfloat16"
    if name == "8gpu":
        assert shipped == Run()


def test_samples_are_the_other_way_to_say_it():
    budget = make_budget(COST, replace(MACHINE, tflops=100, mfu=0.5), Run(epochs=2, global_batch=40, samples=1010))
    assert budget.steps == 51
    assert budget.hours == pytest.approx(30e12 * 2020 / (8 * 50e12) / 3600)
    assert "2 epochs of 1010 samples, 40 samples a step, with gradient checkpointing" in describe(budget)


def test_disk_cache_and_host_memory():
    budget = make_budget(COST, replace(MACHINE, gpus=16), Run(images=500))
    assert budget.embeddings == 500 * 256 * 64 * 64 * 2
    assert budget.cache == 2 * (256 + 96 + 256) * 1_048_576
    assert budget.loading == 8 * (2 * 6_700_000_000 + 4 * 300_000_000)
    assert budget.written == 4 * 7_000_000_000


ONE = replace(MACHINE, gpus=1, memory=24, sharding="none")


@pytest.mark.parametrize(
    ("machine", "run", "words"),
    [
        (replace(MACHINE, memory=12), Run(), "do not fit into 12 GB, of which 0% are left spare: shard the weights"),
        (replace(MACHINE, memory=1, sharding="fsdp"), Run(), "use more or larger GPUs"),
        (ONE, Run(dtype="float32"), "28.0 GB of weights"),
        (ONE, Run(dtype="float32"), "hold frozen weights in bfloat16"),
        (replace(MACHINE, memory=18), Run(), "not one sample fits"),
        (replace(MACHINE, memory=20), Run(checkpointing=False), "one sample fits only with gradient checkpointing"),
        (replace(MACHINE, gpus=1), Run(), "needs"),
        (replace(MACHINE, gpus=64), Run(global_batch=32), "64 GPUs share 32 samples"),
        (
            replace(MACHINE, memory=48),
            Run(),
            "takes 50.0 GB and does not fit into 48 GB, of which 0% are left spare: evaluate fewer at once",
        ),
        (
            replace(MACHINE, memory=26),
            Run(),
            "takes 50.0 GB and does not fit into 26 GB, of which 0% are left spare: evaluate on a larger GPU",
        ),
    ],
)
def test_what_will_not_fit_is_said(machine, run, words):
    budget = make_budget(COST, machine, run, evaluation=50 * 10**9)
    assert any(words in warning for warning in budget.warnings)
    assert all(f"warning: {warning}" in describe(budget) for warning in budget.warnings)


def test_what_fits_is_not_warned_of():
    assert make_budget(COST, replace(MACHINE, memory=60), Run(), evaluation=50 * 10**9).warnings == ()


def test_numbers_that_make_no_sense_are_refused():
    for machine in (replace(MACHINE, mfu=0), replace(MACHINE, memory=0), replace(MACHINE, spare=1)):
        with pytest.raises(ConfigError, match="above 0"):
            make_budget(COST, machine, Run())
    with pytest.raises(ConfigError, match="above 0"):
        make_budget(COST, MACHINE, Run(epochs=0))


def test_float32_weights_of_seven_billion_do_not_fit_a_small_gpu():
    counts = count_weights(trained_on_meta("paper", precision_of("none", "float32")))
    budget = make_budget(replace(COST, counts=counts), Machine(1, 24, sharding="none"), Run(dtype="float32"))
    assert "30.9 GB of weights" in budget.warnings[0] and "do not fit into 24 GB" in budget.warnings[0]


def cells(text):
    """The table's rows as dictionaries, by preset."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("|")]
    return {row[0].strip("`"): dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def printed_in_docs():
    text = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    after = text[text.index("| " + " | ".join(HEAD[:3])) :]
    return cells(after[: after.index("\n\n")])


@pytest.mark.parametrize("preset", ["medsam", "smol"])
def test_the_table_in_the_documentation_is_what_is_counted(preset):
    cost = cost_of(preset)
    budget = make_budget(cost, Machine(8, 80), Run())
    found, printed = cells(table([budget]))[preset], printed_in_docs()[preset]
    assert list(found) == list(printed)
    # Those of the activations change a little with the model's code.
    exact = [name for name in found if not any(word in name for word in ("activations", "with 1 sample", "batch"))]
    assert len(exact) == 8
    assert {name: found[name] for name in exact} == {name: printed[name] for name in exact}


def test_the_table_in_the_documentation_has_every_preset_with_published_weights():
    assert list(printed_in_docs()) == [name for name, preset in PRESETS.items() if preset.pretrained]


def test_a_machine_is_named_where_one_sample_fits():
    cost = cost_of("smol-small")
    assert fits_on(cost, Run()) == ["1 x 24", "1 x 40", "1 x 80", "8 x 24", "8 x 80"]
    large = replace(cost, counts=Counts(9_600_000_000, 300_000_000, 200_000_000, 280_000_000))
    share = {way: static_memory(large.counts, way, 8, "bfloat16").total for way in ("zero2", "fsdp")}
    assert share["fsdp"] < 24e9 * 0.9 < share["zero2"], "so that the way matters"
    assert fits_on(large, Run()) == ["1 x 40", "1 x 80", "8 x 24 (FSDP2)", "8 x 80"]
    assert "1 x 40" not in fits_on(large, Run(dtype="float32"))


def test_the_command_prints_json_and_names_unknown_presets():
    result = command("--preset", "paper-small", "--gpus", "2", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)[0]
    model = trained_on_meta("paper-small", precision_of("zero2", "bfloat16"))
    assert found["cost"]["trainable"] == trained_count(model)
    assert 0 < found["cost"]["trainable"] < found["cost"]["parameters"]
    assert found["cost"]["parameters"] == sum(p.numel() for n, p in model.named_parameters() if "lora_" not in n)
    assert found["largest"] > 1
    assert command("--preset", "huge").exit_code == 2
