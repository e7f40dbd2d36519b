"""Ships the front of a finished general run with localgif: `python -m scripts.ship RUN_FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from localgif.run.draw import Shipped
from localgif.store.read import load_record, read_content

PROMPTS = Path(__file__).parents[1] / "localgif" / "run" / "prompts"


def main(folder: Path) -> None:
    record = load_record(folder)
    result = record.result
    if result is None or result.front is None:
        sys.exit(f"error: {folder} has no front; name the folder of a finished run of --mode general")
    settings = record.settings
    command = (
        f"localgif optimize --mode general --split {settings.split} --seed {settings.seed} --fresh {settings.fresh} "
        f"--animator {settings.animator.alias} --reflector {settings.reflector.alias}"
    )
    made = Shipped(
        model=result.animator.model,
        digest=result.animator.digest,
        command=command,
        version=record.versions["localgif"],
        date=record.started,
        tested=tuple(task.task for task in result.tasks),
        seed_mean=result.seed.mean,
        best_mean=result.best.mean,
        front_mean=result.front.mean,
        prompts=tuple(read_content(folder, "candidates", p.candidate).decode() for p in result.front.prompts),
    )
    file = PROMPTS / f"{made.model.replace(':', '-')}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(made.model_dump_json(indent=1) + "\n")
    print(f"{file}: {len(made.prompts)} prompts, best {made.best_mean:.3f}, together {made.front_mean:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
