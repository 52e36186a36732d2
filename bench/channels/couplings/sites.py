"""Sizes that a model's code spells out, found and corrected.

Most of a model's code takes its sizes from its tensors, and fits whatever they become. Some does not: attention reshapes to
``self.num_heads``, or takes the width of its heads to be that of its input (``B, N, C = x.shape; ... .reshape(B, N, C)``),
and other blocks split at ``self.width``. Such a call is a site. `watch` lets a model run with every site reporting what it
asked for and what it got. When channels leave, a site that names an attribute has the attribute corrected; any other is
told its sizes by `told_`: the module's class becomes a subclass with the same code, in which that one call asks
for what it was told first.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

SHAPED = ("reshape", "view", "expand")
SPLIT = ("split", "chunk", "split_with_sizes")

Watcher: TypeAlias = Callable[["Sited", str, list[int], list[tuple[Tensor, int]]], None]
"""Told (module, site, the sizes that the code asked for, for each of them the tensor and its dimension)."""

_watchers: list[Watcher] = []
_sited: dict[type[nn.Module], type[Sited] | None] = {}


class Sited(nn.Module):
    """What is mixed into the class of a module whose sites are watched or told."""

    _plain: type[nn.Module]
    _attributes: dict[str, list[str]]
    _told: dict[str, int]

    def _shaped(self, site: str, method: str, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """``tensor.method(*args)`` with the sizes that this site was told."""
        asked = list(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else list(args)
        if not isinstance(tensor, Tensor) or kwargs or any(isinstance(n, torch.dtype) for n in asked):
            return getattr(tensor, method)(*args, **kwargs)
        out = getattr(tensor, method)([self._told.get(f"{site}:{i}", n) for i, n in enumerate(asked)])
        for watcher in _watchers:
            watcher(self, site, asked, [(out, d) for d in range(len(asked))])
        return out

    def _cut(self, site: str, method: str, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """``tensor.method(*args)``, a split or chunk, with the sizes that this site was told."""
        if not isinstance(tensor, Tensor):
            return getattr(tensor, method)(*args, **kwargs)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        told = {int(k.rpartition(":")[2]): n for k, n in self._told.items() if k.startswith(f"{site}:")}
        if told:
            size = args[0] if args else next(v for k, v in kwargs.items() if k != "dim")
            asked = [size] * (max(told) + 1) if isinstance(size, int) else size
            out = tensor.split_with_sizes([told.get(i, n) for i, n in enumerate(asked)], dim)
        else:
            out = getattr(tensor, method)(*args, **kwargs)
        for watcher in _watchers:
            watcher(self, site, _parts(tensor, dim, method, args, kwargs), [(t, dim % tensor.dim()) for t in out])
        return out

    def __reduce__(self) -> Any:
        """The subclass is made anew where it is read."""
        return _empty, (self._plain,), vars(self)


def _parts(tensor: Tensor, dim: int, method: str, args: Any, kwargs: Any) -> list[int]:
    """The sizes that the code itself cuts; none where it would fail."""
    try:
        return [t.shape[dim] for t in getattr(tensor, method)(*args, **kwargs)]
    except RuntimeError:
        return []


def _empty(plain: type[nn.Module]) -> nn.Module:
    cls = sited(plain)
    assert cls is not None
    return cls.__new__(cls)


def sited(cls: type[nn.Module]) -> type[Sited] | None:
    """The subclass of a module's class whose sites can be told their sizes, or None where it has no site."""
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
    """A method in which each site asks the module, or None where there is no site, or the code cannot be read."""
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
        method, holder, args = node.func.attr, node.func.value, node.args
        if isinstance(holder, ast.Name) and holder.id == "torch":
            if method not in SPLIT or not args:
                return node
            holder, args = args[0], args[1:]
        site = f"{self.function}:{self.count}"
        self.count += 1
        sizes = args[0].elts if len(args) == 1 and isinstance(args[0], (ast.Tuple, ast.List)) else args
        if method in SHAPED and not any(isinstance(s, ast.Starred) for s in sizes):
            for place, size in enumerate(sizes):
                self.attributes[f"{site}:{place}"] = [
                    n.attr
                    for n in ast.walk(size)
                    if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self"
                ]
        return ast.Call(
            ast.Attribute(ast.Name("self", ast.Load()), "_shaped" if method in SHAPED else "_cut", ast.Load()),
            [ast.Constant(site), ast.Constant(method), holder, *args],
            node.keywords,
        )


def told_(module: nn.Module) -> dict[str, int]:
    """The sizes that a module's sites are told, to be changed in place; its class is changed so that it listens."""
    if isinstance(module, Sited):
        return module._told
    cls = sited(type(module))
    if cls is None:
        raise TypeError(f"{type(module).__name__} has no site")
    told = dict[str, int]()
    module._told = told  # type: ignore[assignment]
    _become_(module, cls)
    return told


def _become_(module: nn.Module, cls: type[nn.Module]) -> None:
    """Change a module's class, also that of its own methods which it holds under other names (``self.forward = self.fast``)."""
    module.__class__ = cls
    for name, held in list(vars(module).items()):
        if isinstance(held, types.MethodType) and held.__self__ is module:
            setattr(module, name, getattr(module, held.__func__.__name__) if held.__func__.__name__ != name else held)


def plain_(model: nn.Module) -> None:
    """Give modules that are told nothing their own class back."""
    for module in model.modules():
        if isinstance(module, Sited) and not module._told:
            del module._told
            _become_(module, module._plain)


@contextlib.contextmanager
def watch(model: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Within, every site of the model reports to ``watcher`` when it is called."""
    for module in model.modules():
        if not isinstance(module, Sited) and sited(type(module)) is not None:
            told_(module)
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
        plain_(model)
