"""The one build step that pyproject.toml cannot say: a wheel carries a copy of models.yaml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPyWithModels(build_py):
    """Copies the top-level models.yaml to where `api.settings` finds it in an installed wheel."""

    def run(self) -> None:
        """Builds the packages, then adds the file; an editable install uses the original."""
        super().run()
        if not self.editable_mode:
            copy = Path(self.build_lib, "engine", "models", "models.yaml")
            self.copy_file("models.yaml", str(copy))


setup(cmdclass={"build_py": BuildPyWithModels})
