"""Sites: calls in a model's code that state sizes explicitly, which removal of channels must correct.

Most code takes sizes from tensors and works after any removal. Some does not: attention reshapes to ``self.num_heads``, or
assumes that the width of its heads is that of its input (``B, N, C = x.shape; ... .reshape(B, N, C)``), and other blocks split
at ``self.width``. Such a call is a site. Under `watch`, each site reports the sizes that the code requested and those that it
got. When channels are removed, a site that uses an attribute is corrected through the attribute; any other site gets its sizes
from `overrides_`: the module's class becomes a subclass with the same code, in which this one call looks for them first.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

SHAPED = ("reshape", "view", "expand")
SPLIT = ("split", "chunk", "split_with_sizes")

Watcher: TypeAlias = Callable[["Sited", str, list[int], list[tuple[Tensor, int]]], None]
"""Called with (module, site, the sizes that the code requested, for each of them the resulting tensor and its dimension)."""

_watchers: list[Watcher] = []
_sited: dict[type[nn.Module], type[Sited] | None] = {}


class Sited(nn.Module):
    """Base of the subclasses of modules whose sites are watched or overridden."""

    _plain: type[nn.Module]
    _attributes: dict[str, list[str]]
    _overrides: dict[str, int]

    def _shaped(self, site: str, method: str, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls ``tensor.method(*args)`` with the overridden sizes of this site."""
        asked = list(args)
        if len(args) == 1 and isinstance(args[0], (tuple, list)):
            asked = list(args[0])
        if not isinstance(tensor, Tensor) or kwargs or any(isinstance(n, torch.dtype) for n in asked):
            return getattr(tensor, method)(*args, **kwargs)
        out = getattr(tensor, method)([self._overrides.get(f"{site}:{i}", n) for i, n in enumerate(asked)])
        for watcher in _watchers:
            watcher(self, site, asked, [(out, d) for d in range(len(asked))])
        return out

    def _cut(self, site: str, method: str, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls ``tensor.method(*args)``, a split or chunk, with the overridden sizes of this site."""
        if not isinstance(tensor, Tensor):
            return getattr(tensor, method)(*args, **kwargs)
        (dim, *_) = (*args[1:], kwargs.get("dim", 0))
        own = {int(k.rpartition(":")[2]): n for k, n in self._overrides.items() if k.startswith(f"{site}:")}
        if own:
            (sizes, *_) = (*args, *(value for key, value in kwargs.items() if key != "dim"))
            if isinstance(sizes, int):
                sizes = [sizes] * (max(own) + 1)
            out = tensor.split_with_sizes([own.get(i, n) for i, n in enumerate(sizes)], dim)
        else:
            out = getattr(tensor, method)(*args, **kwargs)
        for watcher in _watchers:
            watcher(self, site, _parts(tensor, dim, method, args, kwargs), [(t, dim % tensor.dim()) for t in out])
        return out

    def __reduce__(self) -> Any:
        """Pickles the plain class; the subclass is made again on load."""
        return _empty, (self._plain,), vars(self)


def _parts(tensor: Tensor, dim: int, method: str, args: Any, kwargs: Any) -> list[int]:
    """Returns the sizes into which the code itself splits; none where it would fail."""
    try:
        return [t.shape[dim] for t in getattr(tensor, method)(*args, **kwargs)]
    except RuntimeError:
        return []


def _empty(plain: type[nn.Module]) -> nn.Module:
    cls = sited(plain)
    assert cls is not None
    return cls.__new__(cls)


def sited(cls: type[nn.Module]) -> type[Sited] | None:
    """Returns the subclass of a module's class whose sites can be overridden, or None where it has no site."""
    if cls not in _sited:
        _sited[cls] = _subclass(cls)
    return _sited[cls]


def _subclass(cls: type[nn.Module]) -> type[Sited] | None:
    methods, attributes = dict[str, Any](), dict[str, list[str]]()
    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        if isinstance(function, types.FunctionType) and not function.__module__.startswith("torch."):
            rewritten = _rewritten(function, attributes)
            if rewritten is not None:
                methods[name] = rewritten
    if not methods:
        return None
    more = {**methods, "_plain": cls, "_attributes": attributes, "__module__": cls.__module__}
    return cast(type[Sited], type(cls.__name__, (cls, Sited), more))


def _rewritten(function: types.FunctionType, attributes: dict[str, list[str]]) -> types.FunctionType | None:
    """Returns a method whose sites call the module, or None where it has no site or its source is not available."""
    code = function.__code__
    if code.co_freevars or not {*SHAPED, *SPLIT} & set(code.co_names) or code.co_varnames[:1] != ("self",):
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return None
    (definition,) = tree.body
    if not isinstance(definition, ast.FunctionDef):
        return None
    definition.decorator_list = []
    definition.returns = None
    for argument in ast.walk(definition.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    definition.args.defaults = [ast.Constant(None) for _ in definition.args.defaults]
    definition.args.kw_defaults = [d and ast.Constant(None) for d in definition.args.kw_defaults]
    rewriter = _Rewriter(function.__name__, attributes)
    rewriter.visit(definition)
    if not rewriter.count:
        return None
    ast.increment_lineno(ast.fix_missing_locations(tree), code.co_firstlineno - 1)
    compiled = compile(tree, code.co_filename, "exec")
    (inner,) = (c for c in compiled.co_consts if isinstance(c, types.CodeType))
    made = types.FunctionType(inner, function.__globals__, function.__name__, function.__defaults__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class _Rewriter(ast.NodeTransformer):
    """Turns ``x.reshape(a, b)`` into ``self._shaped("forward:0", "reshape", x, a, b)``, and splits likewise."""

    def __init__(self, function: str, attributes: dict[str, list[str]]) -> None:
        self.function, self.attributes, self.count = function, attributes, 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in (*SHAPED, *SPLIT):
            return node
        method, holder, args, call = node.func.attr, node.func.value, node.args, "_cut"
        if isinstance(holder, ast.Name) and holder.id == "torch":
            if method not in SPLIT or not args:
                return node
            holder, args = args[0], args[1:]
        site = f"{self.function}:{self.count}"
        self.count += 1
        if method in SHAPED:
            call = "_shaped"
            self._note_attributes(site, args)
        return ast.Call(
            ast.Attribute(ast.Name("self", ast.Load()), call, ast.Load()),
            [ast.Constant(site), ast.Constant(method), holder, *args],
            node.keywords,
        )

    def _note_attributes(self, site: str, sizes: Sequence[ast.expr]) -> None:
        """Stores for each size of a call the attributes of ``self`` in its expression."""
        if len(sizes) == 1 and isinstance(sizes[0], (ast.Tuple, ast.List)):
            sizes = sizes[0].elts
        if any(isinstance(size, ast.Starred) for size in sizes):
            return
        for place, size in enumerate(sizes):
            self.attributes[f"{site}:{place}"] = [
                n.attr
                for n in ast.walk(size)
                if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self"
            ]


def overrides_(module: nn.Module) -> dict[str, int]:
    """Returns the overridden sizes of a module's sites, to be changed in place; changes the module's class if needed."""
    if isinstance(module, Sited):
        return module._overrides
    cls = sited(type(module))
    if cls is None:
        raise TypeError(f"{type(module).__name__} has no site")
    found = dict[str, int]()
    module._overrides = found  # type: ignore[assignment]
    _set_class_(module, cls)
    return found


def _set_class_(module: nn.Module, cls: type[nn.Module]) -> None:
    """Changes a module's class, and updates its methods that are stored under other names (``self.forward = self.fast``)."""
    module.__class__ = cls
    for name, held in list(vars(module).items()):
        if isinstance(held, types.MethodType) and held.__self__ is module and held.__func__.__name__ != name:
            setattr(module, name, getattr(module, held.__func__.__name__))


def plain_(model: nn.Module) -> None:
    """Restores the own class of modules without overridden sizes."""
    for module in model.modules():
        if isinstance(module, Sited) and not module._overrides:
            del module._overrides
            _set_class_(module, module._plain)


@contextlib.contextmanager
def watch(model: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Inside the context, each site of the model reports its calls to ``watcher``."""
    for module in model.modules():
        if not isinstance(module, Sited) and sited(type(module)) is not None:
            overrides_(module)
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
        plain_(model)
