"""Rules about source text, checked on its syntax tree; `test_structure.py` applies them.

Each rule takes source text and returns what breaks it, as "line: what"; an empty list is a pass.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

_WEB_OR_DATABASE = re.compile(
    r"""(api|aiohttp|alembic|asyncpg|boto3|fastapi|flask|gradio|http\.(client|server)|httpcore|httpx
    |obstore|opentelemetry|prometheus_client|psycopg2?|pysqlite3|ray|redis|requests|socketserver
    |sqlalchemy|sqlite3|starlette|urllib\.request|uvicorn|websockets)(\..*)?""",
    re.VERBOSE,
)

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


# The engine stands alone -------------------------------------------------------------------------


def forbidden_imports(source: str) -> list[str]:
    """Imports of web or database code, wherever in the file, `import_module("name")` included."""
    return [
        f"{node.lineno}: {name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)
        for name in _imported_names(node)
        if _WEB_OR_DATABASE.fullmatch(name)
    ]


def _imported_names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, level=0, names=names):
            yield from (f"{module}.{alias.name}" for alias in names)
        case ast.ImportFrom(level=level) if level > 1:  # leaves the package by a relative path
            yield "api"
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
            if ast.unparse(func).rsplit(".", 1)[-1] in ("import_module", "__import__"):
                yield name


def environment_reads(source: str) -> list[str]:
    """Uses of os.environ and os.getenv under whatever name they were imported."""
    names = ("environ", "environb", "getenv", "getenvb")
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=attr) if attr in names:
                found.append(f"{node.lineno}: {attr}")
            case ast.ImportFrom(module="os", names=imported):
                found += [f"{node.lineno}: {a.name}" for a in imported if a.name in names]
    return found


# Nothing blocks the event loop -------------------------------------------------------------------

_BLOCKING_CALLS = re.compile(
    r"""(open | input | time\.sleep | sqlite3\.connect | pysqlite3\.connect
    | (subprocess|requests|shutil)\.\w+ | httpx\.(get|post|put|delete|head|request|stream)
    | socket\.(create_connection|getaddrinfo|gethostbyname)
    | os\.(open|read|write|fsync|replace|rename|remove|unlink|mkdir|makedirs|listdir|scandir|stat
          |walk|system|popen|wait|waitpid)
    | os\.path\.(exists|isfile|isdir|getsize))""",
    re.VERBOSE,
)
_BLOCKING_METHODS = re.compile(
    r"""open|read_bytes|read_text|write_bytes|write_text|unlink|mkdir|rmdir|touch|exists|is_file
    |is_dir|stat|iterdir|glob|rglob|execute|executemany|commit|fetchall|fetchone""",
    re.VERBOSE,
)
_BLOCKING_RECEIVER = re.compile(r"(^|[._])(store|blobs?|database|db)$")


def blocking_functions(sources: Iterable[str]) -> set[str]:
    """Names of the plain functions and methods that block, directly or through one another."""
    calls: dict[str, set[str]] = {}
    blocking = set()
    for source in sources:
        tree = ast.parse(source)
        aliases = _aliases(tree)
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            own = [node for node in _own_nodes(function) if isinstance(node, ast.Call)]
            if any(_blocks(call, aliases) for call in own):
                blocking.add(function.name)
            calls.setdefault(function.name, set()).update(_local_name(call) for call in own)
    while grown := {name for name, called in calls.items() if called & blocking} - blocking:
        blocking |= grown
    return blocking


def blocking_calls(source: str, known_blocking: Iterable[str] = ()) -> list[str]:
    """Calls inside `async def` that block: files, sleeps, processes, the stores, and the plain
    functions in `known_blocking`. Handing the function itself to a thread is no call of it."""
    tree = ast.parse(source)
    aliases = _aliases(tree)
    barred = set(known_blocking)
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        nodes = list(_own_nodes(function))
        awaited = {id(node.value) for node in nodes if isinstance(node, ast.Await)}
        for node in nodes:
            if not isinstance(node, ast.Call) or id(node) in awaited:
                continue
            if _blocks(node, aliases) or _local_name(node) in barred:
                found.append(f"{node.lineno}: {ast.unparse(node.func)} in {function.name}")
    return found


def _own_nodes(function: FunctionNode) -> Iterator[ast.AST]:
    """Nodes that run when the function runs: not those of functions defined inside it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, FunctionNode | ast.Lambda):
            continue
        yield node
        todo.extend(ast.iter_child_nodes(node))


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Local name -> dotted name, for everything the module imports."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return names


def _blocks(call: ast.Call, aliases: dict[str, str]) -> bool:
    dotted = ast.unparse(call.func)
    first, dot, rest = dotted.partition(".")
    if _BLOCKING_CALLS.fullmatch(aliases.get(first, first) + dot + rest):
        return True
    if not isinstance(call.func, ast.Attribute):
        return False
    receiver = ast.unparse(call.func.value)
    return bool(_BLOCKING_METHODS.fullmatch(call.func.attr) or _BLOCKING_RECEIVER.search(receiver))


def _local_name(call: ast.Call) -> str:
    """The function a call names, where it is one of the project's own: `f()` or `self.f()`."""
    match call.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            return name
    return ""


# A route without await belongs in the thread pool -------------------------------------------------

_ROUTE_DECORATORS = re.compile(r"get|post|put|patch|delete|head|options|route|api_route")
_ROUTE_ADDERS = re.compile(r"add_route|add_api_route|Route|APIRoute")


def routes_without_await(source: str) -> list[str]:
    """Routes declared `async def` that never await: they would hold up the event loop."""
    tree = ast.parse(source)
    added = {
        argument.id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and _ROUTE_ADDERS.fullmatch(ast.unparse(call.func).rsplit(".", 1)[-1])
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]
        if isinstance(argument, ast.Name)
    }
    return [
        f"{function.lineno}: {function.name}"
        for function in ast.walk(tree)
        if isinstance(function, ast.AsyncFunctionDef)
        and (function.name in added or any(map(_is_route, function.decorator_list)))
        and not any(
            isinstance(n, ast.Await | ast.AsyncFor | ast.AsyncWith) for n in _own_nodes(function)
        )
    ]


def _is_route(decorator: ast.expr) -> bool:
    match decorator:
        case ast.Call(func=ast.Attribute(attr=attr)):
            return bool(_ROUTE_DECORATORS.fullmatch(attr))
    return False
