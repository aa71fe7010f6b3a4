"""`python -m engine.demo FOLDER`: write the sample studies into a folder."""

import shutil
import sys
from pathlib import Path

from engine.demo.studies import sample_studies

__all__: list[str] = []

if __name__ == "__main__":
    target = Path(sys.argv[1])
    for files in sample_studies(target):
        for file in files:
            if target not in file.parents:  # a file that comes with pydicom stays where it is: copy it
                (target / "pydicom").mkdir(exist_ok=True)
                shutil.copy(file, target / "pydicom" / file.name)
