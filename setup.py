"""What goes into the wheel. The metadata is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

# Folders at the top of the repository, shipped inside the package that reads them.
DATA = {
    "dexter._data.checkpoints.lab": "checkpoints/lab",
    "dexter_tui._data.sp_config": "sp_config",
}
PACKAGES = find_namespace_packages(
    include=[name + tail for name in ("dexter", "dexter_tui", "store") for tail in ("", ".*")]
)

setup(
    packages=PACKAGES + list(DATA),
    package_dir=DATA,
    package_data={
        "": ["py.typed"],
        "store": ["**/*.mako", "**/*.ini"],
        **{package: ["**/*"] for package in DATA},
    },
)
