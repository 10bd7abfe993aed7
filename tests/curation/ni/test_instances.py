from pathlib import Path

from core.files import atomic_writer
from curation.ni.instances import InstanceStore, write_instances
from curation.ni.task import Instance

FIRST = (
    Instance(id="a", input="line\nbreak", outputs=("x", " y "), instruction="Say it."),
    Instance(id="\u00e9", input="gru\u0308n \u2028", outputs=("z",), also_accepted=("w",)),
)
SECOND = tuple(Instance(id=f"b{n}", input=f"{n}", outputs=("one",)) for n in range(5))


def test_instances_come_back_as_they_were_written_task_by_task(tmp_path: Path) -> None:
    path = tmp_path / "instances.jsonl"
    with atomic_writer(path) as file:
        blocks = [write_instances(file, instances) for instances in (FIRST, (), SECOND)]
    store = InstanceStore(path)
    assert [tuple(store.read(block)) for block in blocks] == [FIRST, (), SECOND]
    assert [block.num_instances for block in blocks] == [2, 0, 5]


def test_single_instances_are_found_by_their_offsets_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "instances.jsonl"
    with atomic_writer(path) as file:
        write_instances(file, FIRST)
        block = write_instances(file, SECOND)
    store = InstanceStore(path)
    offsets = store.offsets(block)
    assert list(offsets) == [instance.id for instance in SECOND]
    assert list(store.at([offsets["b3"], offsets["b0"]])) == [SECOND[3], SECOND[0]]
