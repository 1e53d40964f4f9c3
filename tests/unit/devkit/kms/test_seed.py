import textwrap

import pytest

from devkit.kms import docnode, faults, identities, model, seed

WHOLE = """
projects:
  shop:
    id: 7d3f
    organization: acme
    type: secret-manager
    environments:
      dev:
        /base: {secrets: {A: b}}
      prod:
        /:
          secrets:
            DB_PASSWORD: hunter2
        /app:
          imports: [/shared, {environment: dev, path: /base}, {path: /r, replicated: true}]
          secrets:
            PORT: 0123
            CERT:
              value: |
                one
                two
              id: s2
              version: 3
              comment: text
              skipMultilineEncoding: true
              tags: [blue]
              metadata: {owner: web}
              hidden: true
  empty:
identities:
  I:
    organization: acme
settings:
  delayMs: 20
faults:
  - {route: GET /api/status, status: 503}
"""


@pytest.fixture
def world():
    made = model.World()
    seed.parse(WHOLE).apply(made)
    return made


def invalid(text):
    with pytest.raises(docnode.Invalid) as caught:
        seed.parse(textwrap.dedent(text))
    return str(caught.value)


def test_projects(world):
    project = world.projects["7d3f"]
    assert (project.slug, project.organization, project.type) == ("shop", "acme", "secret-manager")
    assert list(project.environments) == ["dev", "prod"]
    empty = world.projects["empty"]
    assert (empty.slug, empty.organization) == ("empty", identities.ORGANIZATION)
    assert empty.environments == {}


def test_short_secrets(world):
    assert world.folder("7d3f", "prod", "/").secrets["DB_PASSWORD"].value == "hunter2"
    assert world.folder("7d3f", "prod", "/app").secrets["PORT"].value == "0123"


def test_long_secrets(world):
    secret = world.folder("7d3f", "prod", "/app").secrets["CERT"]
    assert (secret.id, secret.version, secret.value) == ("s2", 3, "one\ntwo\n")
    assert (secret.comment, secret.skip_multiline_encoding) == ("text", True)
    assert (secret.tags, secret.metadata, secret.hidden) == (("blue",), (("owner", "web"),), True)


def test_imports(world):
    assert world.folder("7d3f", "prod", "/app").imports == (
        model.Import("prod", "/shared"),
        model.Import("dev", "/base"),
        model.Import("prod", "/r", True),
    )


def test_settings_and_faults(world):
    target = faults.Faults()
    seed.parse(WHOLE).apply(world, target)
    assert world.settings.delay_s == 0.02
    assert target.take("GET /api/status", "/api/status").status == 503


def test_an_empty_file_is_an_empty_world(world):
    seed.parse("").apply(world)
    assert (world.projects, world.identities) == ({}, {})


def test_a_file(tmp_path):
    path = tmp_path / "seed.yaml"
    path.write_text("projects: {p: {environments: {e: {/: {secrets: {K: ü}}}}}}", encoding="utf-8")
    world = model.World()
    seed.load(path).apply(world)
    assert world.folder("p", "e", "/").secrets["K"].value == "ü"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("project: {}", "line 1, project: unknown field; known here: projects, identities"),
        ("projects: []", "line 1, projects: expected a mapping"),
        ("projects:\n  p: {name: x}", "line 2, projects.p.name: unknown field"),
        (
            "projects:\n  p:\n    environments:\n      e:\n        app: {}",
            "line 5, projects.p.environments.e.app: not a folder path",
        ),
        (
            "projects:\n  p:\n    environments:\n      e:\n        /:\n          secret: {}",
            "line 6, projects.p.environments.e./.secret: unknown field; known here: secrets",
        ),
        (
            "projects: {p: {environments: {e: {/: {secrets: {'A:B': x}}}}}}",
            "line 1, projects.p.environments.e./.secrets.A:B: a secret's key must not",
        ),
        (
            "projects: {p: {environments: {e: {/: {secrets: {A: {version: 2}}}}}}}",
            "projects.p.environments.e./.secrets.A: needs the field value",
        ),
        (
            "projects: {p: {environments: {e: {/: {secrets: {A: {value: x, version: 0}}}}}}}",
            "secrets.A.version: expected a number from 1 to any, not 0",
        ),
        (
            "projects: {p: {environments: {e: {/: {secrets: {A: [x]}}}}}}",
            "secrets.A: expected a mapping",
        ),
        (
            "projects: {p: {environments: {e: {/: {imports: [{environment: x}]}}}}}",
            "imports[0]: needs the field path",
        ),
        (
            "projects: {p: {environments: {e: {/: {imports: [app]}}}}}",
            "imports[0]: not a folder path",
        ),
    ],
)
def test_errors_name_line_and_path(text, message):
    assert message in invalid(text)


def test_two_projects_must_not_share_an_id():
    message = invalid("projects:\n  p: {}\n  q: {id: p}\n")
    assert message == "line 3, projects.q: another project has the id p"


def test_values_are_in_no_error(marker):
    text = "projects: {p: {environments: {e: {/: {secrets: {A: {content: VALUE}}}}}}}"
    assert marker not in invalid(text.replace("VALUE", marker))


def test_the_form_in_the_module_docstring_is_true():
    example = seed.__doc__.partition("\n\n")[2].rpartition("\n\n")[0]
    parsed = seed.parse(textwrap.dedent(example))
    assert [each.slug for each in parsed.projects] == ["shop"]
    assert len(parsed.planned) == 3
