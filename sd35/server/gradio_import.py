"""The import of Gradio, without the parts of it that this program never uses.

Half of the time that `import gradio` takes is spent on those (gradio 6.31): it rewrites the type
stubs of its components from their sources, and imports pandas and MCP's protocol for features that
this program has none of. If a later version of Gradio does without one of them, nothing happens.
"""

import gc
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, Final

__all__ = ["STUB_WRITER", "DeferredModule", "prepare_gradio_import"]

# The function that writes the type stub of a component, for editors, whenever one is defined.
_STUB_MODULE: Final = "gradio.component_meta"
STUB_WRITER: Final = "create_or_modify_pyi"

# For tables and plots as values; imported when one of its attributes is first read.
_PANDAS: Final = "pandas"
# For `launch(mcp_server=True)`. Gradio does without it where it isn't installed.
_MCP: Final = "mcp"


def prepare_gradio_import() -> None:
    """Shorten the first `import gradio` that follows, in any module."""
    if not any(isinstance(finder, _GradioFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GradioFinder())


class _GradioFinder(MetaPathFinder):
    """Finder of the two modules that are loaded in another way than Python's."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        loader_class = _LOADERS.get(fullname)
        if loader_class is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = loader_class(fullname, spec.loader.path)
        return spec


class _PackageLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        pandas = DeferredModule(_PANDAS)
        with _replaced(_PANDAS, pandas), _replaced(_MCP, None), _collector_paused():
            super().exec_module(module)


class _StubModuleLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if hasattr(module, STUB_WRITER):
            setattr(module, STUB_WRITER, lambda *_: None)


_LOADERS: Final[dict[str, type[SourceFileLoader]]] = {
    "gradio": _PackageLoader,
    _STUB_MODULE: _StubModuleLoader,
}


class DeferredModule(ModuleType):
    """Stand-in for a module, which is imported when one of its attributes is first read.

    Unlike that of `importlib.util.LazyLoader`, it doesn't stay in `sys.modules`, where whoever
    looks at all modules, as `inspect` does, would import it.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # any attribute
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _replaced(name: str, replacement: ModuleType | None) -> Iterator[None]:
    """Give a replacement to those who import the module in this block; `None`: it isn't there."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = replacement  # type: ignore[assignment]  # None is documented
    try:
        yield
    finally:
        if sys.modules.get(name) is replacement:
            sys.modules.pop(name, None)


@contextmanager
def _collector_paused() -> Iterator[None]:
    # It would look again and again through hundreds of thousands of objects that are here to stay.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
