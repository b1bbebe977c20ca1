"""Prompts: templates, wildcards, styles, estimates of tokens, and syntax without effect."""

import json
from dataclasses import replace
from itertools import islice, pairwise, permutations, product
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sd35.core.errors import InvalidRequestError, PromptError, TemplateError
from sd35.core.limits import PUBLIC_LIMITS
from sd35.core.origin import PlannedRequest
from sd35.core.request import GenerationRequest, RequestOptions
from sd35.prompts.axes import AxisKind, parse_axis
from sd35.prompts.catalog import PromptCatalog
from sd35.prompts.grids import AxisInput, GridSource, parse_grid, plan_grid
from sd35.prompts.ideas import shipped_ideas
from sd35.prompts.own_styles import OwnStyles, words_from_prompt
from sd35.prompts.parser import has_template_syntax
from sd35.prompts.plan import BatchOptions, SeedPolicy, parse_batch_options, plan_requests
from sd35.prompts.resolved import resolve_prompt
from sd35.prompts.styles import SHIPPED_STYLES, Style, StyleBook, apply_styles, load_styles
from sd35.prompts.templates import MAX_COUNT, Template
from sd35.prompts.tokens import estimate_tokens
from sd35.prompts.unsupported import SyntaxKind, find_unsupported, without_unsupported
from sd35.prompts.wildcards import NO_WILDCARDS, SHIPPED_WILDCARDS, WildcardFolders

ASSETS = SHIPPED_STYLES.parent

WILDCARDS = {
    "season": ("summer", "{autumn|fall}", "winter"),
    "flavor": ("mint", "lemon", "plum"),
    "heavy": ("3::oak  # a tree", "0::ash"),
    "clothes": ("In ${season}, ${season:no} shirts",),
    "nested": ("__season__", "never"),
    "loop": ("a", "__loop_back__"),
    "loop_back": ("__loop__",),
    "broken": ("{a|b",),
}

BATCH_KEYS = ("count", "one_per_line", "seeds", "combinations", "is_literal", "styles")
JSON_VALUES = st.none() | st.booleans() | st.integers() | st.lists(st.text() | st.integers())

DOUBLINGS = "".join(
    ["${a=xx}", *(f"${{{b}=${{{a}}}${{{a}}}}}" for a, b in pairwise("abcdefghijklmnopqr")), "${r}"]
)


class Wildcards:
    """Wildcards in memory."""

    def values(self, pattern: str) -> tuple[str, ...]:
        """Return the values of a wildcard."""
        if pattern not in WILDCARDS:
            raise TemplateError(f"There is no wildcard “{pattern}”")
        return WILDCARDS[pattern]


def combinations(text: str) -> list[str]:
    """Return all prompts of a template, whose number is the count, and a sample one of them."""
    template = Template(text, Wildcards())
    prompts = list(islice(template.combinations(), 1001))
    assert len(prompts) == template.count
    assert template.sample(7) == template.sample(7)
    assert {template.sample(seed) for seed in range(5)} <= set(prompts)
    return prompts


@pytest.mark.parametrize(
    ("text", "expected_prompts"),
    [
        ("{red|blue} fox", ["red fox", "blue fox"]),
        ("{{rose|white} gold|tin} ring", ["rose gold ring", "white gold ring", "tin ring"]),
        ("{ red | blue }, {big |}fox", ["red, big fox", "red, fox", "blue, big fox", "blue, fox"]),
        ("{0.5::a|.2::b|2::c|d}", ["a", "b", "c", "d"]),
        ("{@red|blue}__heavy____@heavy__", ["redoakoak", "blueoakoak"]),
        ("{0::a|b}", ["b"]),
        ("{2$$a|b|c}", ["a, b", "a, c", "b, a", "b, c", "c, a", "c, b"]),
        ("{2$$ and $$a|b}", ["a and b", "b and a"]),
        ("{2$$|$$a|b}", ["a|b", "b|a"]),
        ("{1-2$$+$$a|b}", ["a", "b", "a+b", "b+a"]),
        ("{-2$$+$$a|b}", ["a", "b", "a+b", "b+a"]),
        ("{1-$$+$$a|b}", ["a", "b", "a+b", "b+a"]),
        ("{0-1$$a|b} x", ["x", "a x", "b x"]),
        ("{2-1$$+$$a|b}", ["a", "b", "a+b", "b+a"]),
        ("{4$$a|b}", ["a, b", "b, a"]),
        ("{2$$a|{b|c}}", ["a, b", "a, c", "b, a", "c, a"]),
        ("{2$$0.5::a|b}", ["a, b", "b, a"]),
        ("{2$$a||b}", ["a", "a, b", "a", "b", "b, a", "b"]),
        ("__season__ sea", ["summer sea", "autumn sea", "fall sea", "winter sea"]),
        ("__nested__", ["summer", "autumn", "fall", "winter", "never"]),
        ("__heavy__", ["oak"]),
        (
            "{2$$__flavor__}",
            [", ".join(pair) for pair in permutations(("mint", "lemon", "plum"), 2)],
        ),
        ("${a=!{x|y}} ${a} ${a}", ["x x", "y y"]),
        ("${a={x|y}} ${a} ${a}", ["x x", "x y", "y x", "y y"]),
        ("${a=x}${a?=y}${b?=z}${a}${b}", ["xz"]),
        ("${a=x}${a=${a} y}${a}", ["x y"]),
        ("{a|${v=b}${v}} ${v:none}", ["a none", "b none"]),
        ("__clothes(season=winter)__", ["In winter, winter shirts"]),
        ("${season=fall} __clothes__", ["In fall, fall shirts"]),
        ("{red\n # |green\n|\n  #no\nblue # sea\n}\n# end", ["red", "blue"]),
        ("#", [""]),
        (r"\{a\|b\} \__season\__ \$\# C:\\x", [r"{a|b} __season__ $# C:\x"]),
        ("#1 dad", [""]),
        ("the #1 {dad} #ff | (a:1.2)", ["the #1 dad #ff | (a:1.2)"]),
        ("{a|b::c}", ["a", "b::c"]),
        ("{}", [""]),
    ],
)
def test_templates_make_the_documented_prompts(text: str, expected_prompts: list[str]) -> None:
    """Each part of the syntax of sd-dynamic-prompts makes the prompts that its guide says."""
    assert combinations(text) == expected_prompts


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("a {b|c", "never closed", 2),
        ("a } b", "no opening", 2),
        ("${a=b", "never closed", 0),
        ("x ${5}", "needs the name", 2),
        ("x __nope__", "no wildcard", 2),
        ("x ${a}", "“a” isn't set", 2),
        ("${a=${a} b} ${a}", "isn't set", 4),
        ("__clothes__", "In the wildcard “clothes”: the variable “season” isn't set", None),
        ("__broken__", "In the wildcard “broken”, “{a|b”", None),
        ("__loop__", "loop → loop_back → loop", None),
        ("__season(winter)__", "(name=value)", 9),
        ("{0::a|0::b}", "weight of 0", 0),
        ("x{-$$__flavor__|" + "|".join("a" * 99) + "}", "up to 50", 1),
        ("{99$$" + "|".join("a" * 99) + "}", "up to 50", 0),
        ("{" * 10_000, "30 deep", 30),
        ("{a|" * 10_000 + "}" * 10_000, "30 deep", 90),
        ("${a=b}" * 100, "up to 50 variables", 300),
        ("x" * 60_000, "50,000 characters", None),
        (DOUBLINGS, "too complex", None),
    ],
    ids=range(19),
)
def test_wrong_templates_say_what_is_wrong(text: str, message: str, position: int | None) -> None:
    """A template that can't be used is refused whole, with the position, whatever the seed."""
    with pytest.raises(TemplateError) as caught:
        Template(text, Wildcards())
    assert message in str(caught.value)
    assert caught.value.position == position


def test_endless_templates_are_counted_without_being_made() -> None:
    """The combinations of a template are counted up to a limit, and each of them can be had."""
    assert Template("{a|b|c|d}" * 20, Wildcards()).count == 4**20
    assert Template("{9$$" + "|".join("abcdefghijkl") + "}", Wildcards()).count == 79_833_600
    endless = Template("{a|b}" * 2000, Wildcards())
    assert endless.count == MAX_COUNT
    assert list(islice(endless.combinations(), 2)) == ["a" * 2000, "a" * 1999 + "b"]
    assert len(set(map(endless.sample, range(9)))) == 9


def test_weights_decide_how_often() -> None:
    """An option with nine times the weight is chosen nine times as often."""
    template = Template("{9::a|b}", NO_WILDCARDS)
    assert 860 < sum(template.sample(seed) == "a" for seed in range(1000)) < 940


Example = tuple[str, list[str]]


def _choice(options: list[Example], size: int) -> Example:
    """Return the text of a choice and its prompts, made another way than in the program."""
    prompts = [
        "+".join(texts)
        for chosen in permutations([prompts for _, prompts in options], min(size, len(options)))
        for texts in product(*chosen)
    ]
    return f"{{{size}$$+$${'|'.join(text for text, _ in options)}}}", prompts


def _sequence(parts: list[Example]) -> Example:
    return (
        "".join(text for text, _ in parts),
        ["".join(texts) for texts in product(*(prompts for _, prompts in parts))],
    )


EXAMPLES = st.recursive(
    st.sampled_from("abcd").map(lambda text: (text, [text])),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(_sequence)
        | st.builds(_choice, st.lists(inner, min_size=1, max_size=3), st.integers(1, 3))
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(EXAMPLES.filter(lambda example: len(example[1]) <= 1000))
def test_combinations_are_all_prompts(example: Example) -> None:
    """A nested template has exactly the combinations of its parts, and a sample is one of them."""
    text, expected_prompts = example
    assert combinations(text) == expected_prompts


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [*"{}|$_#\\:=!?-12a \n()[]*<", "${a=", "${a", "__season__", "__", "$$", "::", "猫"]
        ),
        max_size=25,
    ).map("".join)
    | st.text(max_size=20)
)
def test_any_text_is_a_template_or_an_error(text: str) -> None:
    """Arbitrary text never fails in another way, and says nothing about itself that isn't so."""
    has_template_syntax(text)
    assert len(without_unsupported(text)) <= len(text)
    estimate_tokens(text)
    try:
        template = Template(text, Wildcards())
    except TemplateError as error:
        assert error.position is None or 0 <= error.position < len(text)
        return
    prompts = list(islice(template.combinations(), 101))
    assert len(prompts) == min(template.count, 101)
    assert template.sample(1) in prompts or template.count > 101


@pytest.mark.parametrize(
    ("text", "is_template"),
    [
        ("{a|b}", True),
        ("{a {b} c|d}", True),
        ("{2$$__x__}", True),
        ("__season__", True),
        ("__my seasons__", True),
        ("${a=b}", True),
        ("{a|b", True),
        ("a {fox} {", False),
        ('{"a": 1}', False),
        (r"\{a\|b\} :-} a | b", False),
        ("____ __ snake_case__ a __ b", False),
    ],
)
def test_only_sure_syntax_makes_a_template(text: str, is_template: bool) -> None:  # noqa: FBT001
    """Plain braces, bars and underscores in a prompt don't make it a template."""
    assert has_template_syntax(text) == is_template


def write(folder: Path, **files: str) -> Path:
    """Write files, with `__` for a slash and `_` for the dot in a name."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(
        tmp_path / "wildcards",
        colors__cold_txt="\ufeff# cold\nblue\n\n  2::green\r\nblue\n",
        colors__warm_txt="red\n",
        empty_txt="# nothing\n",
        lists_yaml="clothes:\n  - shirt\n  - 1\nart:\n  nordic: [a, b]\n  1234: 5678\nname: x\n",
        sub__more_json='{"tool": ["saw", "{big|small} axe"]}',
        toys_yaml="toys:\n  - |\n    # Usage: __toys(kind=owl)__\n\n    a ${kind} toy,\n    soft\n",
        bomb_yaml="a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        deep_yaml="[" * 500,
        broken_json="{",
        _hidden_txt="no\n",
    )


def test_wildcard_files_are_found(folder: Path) -> None:
    """Text, YAML and JSON files in nested folders have values, each once, under their names."""
    wildcards = WildcardFolders(folder)
    assert wildcards.names == [
        *("art/nordic", "clothes", "colors/cold", "colors/warm", "empty", "sub/tool", "toys"),
    ]
    assert wildcards.values("colors/cold") == ("blue", "2::green")
    assert wildcards.values("clothes") == ("shirt", "1")
    assert wildcards.values("colors*") == wildcards.values("col*/*") == ("blue", "2::green", "red")
    assert Template("{2$$__colors/*__} __sub/tool__", wildcards).count == 18
    toys = Template("__toys(kind={owl|fox})__", wildcards)
    assert [*toys.combinations()] == [f"a {kind} toy, soft" for kind in ("owl", "fox")]
    assert len(wildcards.problems) == 3
    assert any("aliases" in problem for problem in wildcards.problems)
    (folder / "colors" / "cold.txt").write_text("grün\n", "utf-16")
    assert WildcardFolders(folder).values("colors/cold") == ("grün",)


def test_wildcards_stay_in_their_folder(folder: Path) -> None:
    """No name and no link leads out of the folder, and a missing one gets a suggestion."""
    write(folder.parent, secret_txt="hidden\n")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "loop").symlink_to(folder.parent)
    wildcards = WildcardFolders(folder, folder.parent / "missing")
    for name in ("../secret", "link", "loop/secret", str(folder.parent / "secret"), "", "[z-a]"):
        with pytest.raises(TemplateError):
            wildcards.values(name)
    with pytest.raises(TemplateError, match=r"__colors/cold__"):
        wildcards.values("color/cold")
    with pytest.raises(TemplateError, match="no values"):
        wildcards.values("empty")
    with pytest.raises(TemplateError, match="stars"):
        wildcards.values("*a" * 50)


def test_own_wildcards_replace_shipped_ones(tmp_path: Path) -> None:
    """A file of the user's replaces the shipped one of its name; all shipped ones are valid."""
    wildcards = WildcardFolders(SHIPPED_WILDCARDS, write(tmp_path, season_txt="monsoon\n"))
    assert wildcards.values("season") == ("monsoon",)
    assert all(Template(f"__{name}__", wildcards).count for name in wildcards.names)
    assert len(wildcards.names) >= 15
    assert not wildcards.problems


def test_own_wildcards_are_read_while_they_change(tmp_path: Path) -> None:
    """A file that was just written is found, and others never see the owner's."""
    catalog = PromptCatalog(
        tmp_path, tmp_path / "styles.json", clock=iter(range(0, 1000, 3)).__next__
    )
    own = catalog.wildcards(is_owner=True)
    for _ in range(3):
        with pytest.raises(TemplateError, match="no wildcard “pet”"):
            own.values("pet")
    write(tmp_path, pet_txt="hamster")
    assert own.values("pet") == ("hamster",)
    with pytest.raises(TemplateError, match="no wildcard “pet”"):
        catalog.wildcards(is_owner=False).values("pet")


def test_shipped_styles_are_complete() -> None:
    """Each has words around the prompt, a group and a thumbnail, and stays short for CLIP."""
    book = load_styles(SHIPPED_STYLES)
    assert len(book.styles) >= 40
    for style in book.styles:
        assert style.prompt.count("{prompt}") == 1
        assert style.group
        assert (SHIPPED_STYLES.parent / "styles" / f"{style.thumbnail}.webp").exists()
        assert estimate_tokens(style.prompt).clip.count < 40, style.name
    assert all(preset.negative_prompt for preset in book.negative_presets)


def test_styles_surround_the_prompt() -> None:
    """Styles apply in their order, and the negative prompt has each word once."""
    styles = [
        Style("Ink", "ink of {prompt}, lines", "photo, color"),
        Style("Night", "at night", "Photo, day"),
    ]
    assert apply_styles("a {prompt}", "blur, day", styles) == (
        "ink of a {prompt}, lines, at night",
        "blur, day, photo, color",
    )
    nested = [Style("Wash", "An ink wash of {prompt}"), Style("Still", "A still, {prompt}, haze")]
    assert apply_styles("a fox", "", nested)[0] == "A still, an ink wash of a fox, haze"
    resolved = resolve_prompt("a fox", "", styles, template="a {fox|hare}")
    assert resolved.origin == (
        ("Template", "a {fox|hare}"),
        ("Styles", "Ink, Night"),
        ("Base prompt", "a fox"),
    )
    assert resolve_prompt("a fox").origin == ()


def test_own_styles_are_edited(tmp_path: Path) -> None:
    """Changes keep the order and what else is in the file, and a bad one changes nothing."""
    file = tmp_path / "styles.json"
    own_styles = OwnStyles(file, reserved_names=["Photo"])
    for name in ("Ink", "Fog", "Sun"):
        own_styles.save(Style(name, f"{name} of {{prompt}}"))
    tree = json.loads(file.read_text("utf-8"))
    tree["notes"] = "mine"
    tree["styles"][1] |= {"group": "Weather", "author": "me", "thumbnail": "../x"}
    file.write_text(json.dumps(tree), "utf-8")
    own_styles.save(Style(" Thick   fog ", "{prompt} in\nfog"), "fog")
    assert own_styles.styles()[1] == Style("Thick fog", "{prompt} in fog", "", "Weather")
    assert json.loads(file.read_text("utf-8"))["styles"][1]["author"] == "me"
    deletion = own_styles.delete("THICK FOG")
    assert deletion == (Style("Thick fog", "{prompt} in fog", "", "Weather"), 1)
    assert own_styles.delete("Thick fog") is None
    own_styles.save(*deletion[:1], index=deletion[1])
    assert [style.name for style in own_styles.styles()] == ["Ink", "Thick fog", "Sun"]
    text = file.read_bytes()
    for style, field in (
        (Style(" ", "x"), "name"),
        (Style("a, b", "x"), "name"),
        (Style("n" * 61, "x"), "name"),
        (Style("INK", "x"), "name"),
        (Style("photo", "x"), "name"),
        (Style("New", "{prompt}"), "prompt"),
        (Style("New", "x" * 2001), "prompt"),
        (Style("New", "x", "y" * 2001), "negative_prompt"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            own_styles.save(style)
        assert [error.field for error in caught.value.field_errors] == [field]
    with pytest.raises(InvalidRequestError, match="already"):
        own_styles.save(Style("Sun", "x"), "Ink")
    assert file.read_bytes() == text
    assert json.loads(text)["notes"] == "mine"
    assert words_from_prompt("a fox, ink, lines") == "{prompt}, ink, lines"
    assert words_from_prompt("misty hills") == "{prompt}, misty hills"
    assert words_from_prompt("ink of a fox, lines", "a fox") == "ink of {prompt}, lines"


def test_a_broken_file_of_styles_is_never_overwritten(tmp_path: Path) -> None:
    """A change fails, and says where the mistake is, until somebody has repaired the file."""
    file = write(tmp_path, styles_json='{"styles": [\n{"name": "Ink"') / "styles.json"
    own_styles = OwnStyles(file)
    for change in (lambda: own_styles.save(Style("New", "x")), lambda: own_styles.delete("Ink")):
        with pytest.raises(InvalidRequestError, match="line 2"):
            change()
    assert file.read_text() == '{"styles": [\n{"name": "Ink"'


def test_own_styles_are_read(tmp_path: Path) -> None:
    """A file of the user's adds and replaces styles, and a mistake in it says where it is."""
    own = write(tmp_path, own_json='{"styles": [{"name": "watercolor ", "prompt": "wet"}]}')
    book = load_styles(SHIPPED_STYLES, own / "own.json", own / "missing.json")
    assert book.find(["WaterColor"])[0].prompt == "wet"
    for name, message in (
        ("oil", "“Oil painting”"),
        ("xyz", "no style “xyz”"),
        ("Claymatian", "Claymation"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            book.find([name])
    for text, message in (
        ('{\n"styles": [}', "line 2"),
        ("[]", "no .styles."),
        ('{"styles": {}}', "list of objects"),
        ('{"styles": [{"name": "a,b", "prompt": "x"}]}', "without commas"),
        ('{"styles": [{"name": "a", "prompt": 3}]}', "isn't a text"),
        ('{"styles": [{"name": "a"}]}', "has no words"),
        ("[" * 100_000, "recursion"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            load_styles(write(tmp_path, bad_json=text) / "bad.json")


def plan(prompt: str, seed: int | None = 7, **options: Any) -> list[tuple[str, int]]:  # noqa: ANN401
    """Return the prompts and seeds that a press makes."""
    request = RequestOptions(prompt=prompt, seed=seed)
    batch = BatchOptions(**options)
    planned = plan_requests(request, batch, StyleBook()).requests(PUBLIC_LIMITS, draw=1)
    return [(image.request.prompt, image.request.seed) for image in planned]


def test_press_makes_count_images_of_each_prompt() -> None:
    """Lines are prompts, templates make one prompt per image or all, and seeds follow in order."""
    lines = "a cat\n\n # no prompt\na {x} dog"
    cat, dog = "a cat", "a {x} dog"
    assert plan(lines, one_per_line=True, count=2) == [(cat, 7), (cat, 8), (dog, 9), (dog, 10)]
    fixed = plan(lines, one_per_line=True, seeds=SeedPolicy.FIXED)
    assert fixed == [(cat, 7), (dog, 7)]
    assert plan("a\nb") == [("a\nb", 7)]
    assert plan("{a|b}", combinations=True, count=2) == [("a", 7), ("a", 8), ("b", 9), ("b", 10)]
    assert plan("{a|b}", is_literal=True) == [("{a|b}", 7)]


def test_choices_in_order_follow_the_images() -> None:
    """Of `@`, each image gets the next option; those of `!` are combined with one another."""
    cycle = [prompt for prompt, _ in plan("{@a|b|c} {@x|y}", count=6)]
    assert cycle == ["a x", "b y", "c x", "a y", "b x", "c y"]
    combined = [prompt for prompt, _ in plan("{!a|b|c} {!x|y} {~z}", count=6)]
    assert sorted(combined) == ["a x z", "a y z", "b x z", "b y z", "c x z", "c y z"]
    assert [Template("__@season__", Wildcards()).sample(5, index) for index in range(3)] == [
        *("summer", Template("{autumn|fall}").sample(5), "winter"),
    ]


def test_random_press_is_what_was_shown() -> None:
    """The same draw gives the same seeds and prompts, whatever the seed of the form would be."""
    images = plan("{a|b|c|d}", seed=None, count=8)
    assert images == plan("{a|b|c|d}", seed=None, count=8)
    assert len({seed for _, seed in images}) == 8
    assert len({prompt for prompt, _ in images}) > 1
    assert images[0] == plan("{a|b|c|d}", seed=None)[0]


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        ("a\n{b|", PromptError, "“{b|”: The brace is never closed"),
        ("\n".join("ab" * 200), InvalidRequestError, "800 images; the limit is 500"),
        ("{a|b}{c|d}" * 20, InvalidRequestError, "1,099,511,627,776 or|limit is 500"),
        ("a\n" + "x" * 10_001, PromptError, "too long"),
        ("# a", InvalidRequestError, "Enter a prompt"),
    ],
)
def test_press_that_makes_no_images_says_why(
    prompt: str, error: type[InvalidRequestError], message: str
) -> None:
    """A wrong prompt is named, and nobody makes a million images by accident."""
    with pytest.raises(error, match=message):
        plan(prompt, count=2, one_per_line=True, combinations=True)


@given(st.text() | st.dictionaries(st.sampled_from(BATCH_KEYS), JSON_VALUES).map(json.dumps))
def test_forged_batch_options_have_defaults(text: str) -> None:
    """Whatever a browser sends is a number of images and names of styles."""
    options = parse_batch_options(text)
    assert 1 <= options.count <= 8
    assert parse_batch_options(options.to_json()) == options


def test_tokens_are_estimated() -> None:
    """Estimates are near the true counts, and tell where the encoders stop reading."""
    # True counts of CLIP's and T5's tokenizers, with their marks.
    for prompt, clip, t5 in (
        ("", 2, 1),
        ("a lighthouse at dusk", 6, 9),
        ("a beautiful portrait of a samurai in the rain, highly detailed, intricate", 17, 19),
    ):
        tokens = estimate_tokens(prompt)
        assert abs(tokens.clip.count - clip) <= 2
        assert abs(tokens.t5.count - t5) <= 3
        assert tokens.clip.end is tokens.t5.end is None
    tokens = estimate_tokens("fox " * 300)
    assert (tokens.clip.end, tokens.clip.limit, tokens.t5.limit) == (300, 77, 256)
    assert estimate_tokens("灯台と星空" * 30).clip.end == 39, "the begin of a sentence is read"
    assert tokens.t5.end is not None


def test_syntax_without_effect_is_found() -> None:
    """Weights, brackets and LoRAs are found with their positions, and leave the words."""
    prompt = r"a (red:1.3) fox, [dog], ((sea)), <lora:ink:0.8>(plain) \(x:1\) 16:9"
    syntaxes = find_unsupported(prompt)
    assert [(syntax.kind, syntax.text) for syntax in syntaxes] == [
        (SyntaxKind.WEIGHT, "(red:1.3)"),
        (SyntaxKind.BRACKETS, "[dog]"),
        (SyntaxKind.BRACKETS, "((sea))"),
        (SyntaxKind.LORA, "<lora:ink:0.8>"),
    ]
    assert all(prompt[syntax.start : syntax.end] == syntax.text for syntax in syntaxes)
    assert without_unsupported(prompt) == r"a red fox, dog, sea, (plain) \(x:1\) 16:9"
    assert without_unsupported("((a:1.2) [b]:1.3)") == "a b"
    for hostile in ("(" * 20_000, "[" * 20_000, "<lora:" * 5000, "(a:" * 7000, "((a" * 7000):
        assert without_unsupported(hostile) == hostile


STYLE_BOOK = load_styles(SHIPPED_STYLES)


@pytest.mark.parametrize(
    ("kind", "text", "labels"),
    [
        ("steps", "10, 20,,30\n20", ["10", "20", "30"]),
        ("steps", "20-40 (+10)", ["20", "30", "40"]),
        ("steps", "1-3, 10–5 (-3)", ["1", "2", "3", "10", "7"]),
        ("steps", "1-10 [5]", ["1", "3", "5", "7", "10"]),
        ("guidance", "3-4 (+0.5), 4.50", ["3", "3.5", "4", "4.5"]),
        ("guidance", "0-1 [3]", ["0", "0.5", "1"]),
        ("seed", "-1, 7, -1, 18446744073709551615", ["100", "7", "101", "18446744073709551615"]),
        ("size", "1024x768, 16:9, 512 × 512", ["1024 × 768", "16:9", "512 × 512"]),
        ("style", "watercolor, none, claymation + oil painting", None),
        ("prompt", 'red, "blue, green" , "", "say ""hi""", 5" pipe', None),
    ],
)
def test_axis_values_are_read(kind: str, text: str, labels: list[str] | None) -> None:
    """Values are separated by commas or lines, quotes hold commas, and numbers have ranges."""
    seeds = iter(range(100, 200))
    axis = parse_axis(AxisKind(kind), text, STYLE_BOOK, lambda: next(seeds))
    expected_labels = {
        "style": ["Watercolor", "No style", "Claymation + Oil painting"],
        "prompt": ["red", "blue, green", "(nothing)", 'say "hi"', '5" pipe'],
    }.get(kind, labels)
    assert [value.label for value in axis.values] == expected_labels


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("steps", " , ", "Steps: enter the values"),
        ("steps", "20, x", "Steps “x”: enter a number or a range, such as 20"),
        ("steps", "1.5", "Steps “1.5”: enter whole numbers"),
        ("steps", "1-500", "has 500 values; the limit is 100"),
        ("steps", "1-5 (0)", "step of a range can't be 0"),
        ("steps", "1-99999999999999999999 (+1)", "the limit is 100"),
        ("seed", "18446744073709551616", "out of range"),
        ("seed", "-2", "out of range"),
        ("seed", "0-60, 70-130", "up to 100 values"),
        ("size", "big", "Size “big”: enter a width and a height"),
        ("style", "Watercolour", "no style “Watercolour”"),
        ("prompt", 'red, "blue', "Prompt part “\"blue”: the quotes aren't closed"),
        ("prompt", "x" * 2001, "up to 2,000 characters per value"),
    ],
)
def test_wrong_axes_name_the_value(kind: str, text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_axis(AxisKind(kind), text, STYLE_BOOK, lambda: 0)
    assert message in str(caught.value)


@settings(max_examples=200)
@given(st.sampled_from(AxisKind), st.text(alphabet='",\n -–+()[]0123456789.x:aé', max_size=40))
def test_any_text_is_an_axis_or_an_error(kind: AxisKind, text: str) -> None:
    """Whatever is entered as values is an axis with unique labels, or a clear error."""
    try:
        axis = parse_axis(kind, text, STYLE_BOOK, lambda: 1)
    except InvalidRequestError:
        return
    labels = [value.label for value in axis.values]
    assert 0 < len(labels) == len(set(labels)) <= 100


def grid_requests(
    *axes: tuple[str, str],
    prompt: str = "a red fox in {snow|rain}",
    **values: Any,  # noqa: ANN401
) -> list[PlannedRequest]:
    """Return the cells of a grid over one seed."""
    inputs = [AxisInput(AxisKind(kind), text) for kind, text in axes]
    grid = parse_grid(inputs, STYLE_BOOK, PUBLIC_LIMITS)
    request = GenerationRequest(prompt, seed=5, randomize_seed=False)
    source = GridSource(replace(request, **values))
    requests = plan_grid(grid, source, PUBLIC_LIMITS)
    assert len(requests) == grid.cell_count
    return requests


def test_cells_differ_only_along_their_axes() -> None:
    """The seed and the template's choice are the same in all cells, which are in rows."""
    cells = grid_requests(("steps", "20,30"), ("guidance", "4,5"), randomize_seed=True, seed=0)
    assert [cell.origin.axes for cell in cells] == [
        (("Steps", steps), ("Guidance scale", scale)) for scale in "45" for steps in ("20", "30")
    ]
    assert len({(cell.request.prompt, cell.request.seed) for cell in cells}) == 1
    assert not cells[0].request.randomize_seed
    assert cells[1].request.num_inference_steps == 30
    cells = grid_requests(("seed", "1-3"), ("size", "1:1, 512x768"))
    assert [cell.request.seed for cell in cells] == [1, 2, 3] * 2
    assert {(cell.request.width, cell.request.height) for cell in cells[3:]} == {(512, 768)}
    assert len({cell.request.prompt for cell in cells}) == 1


def test_long_templates_make_no_endless_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long template is evaluated once for a grid, and not for hundreds of prompts or lines."""
    monkeypatch.setattr("sd35.prompts.grids.MAX_EVALUATED_CHARACTERS", 10_000)
    monkeypatch.setattr("sd35.prompts.plan.MAX_PLAN_WORK", 10_000)
    prompt = "red " + "{a|b}" * 900
    assert len(grid_requests(("seed", "1-20"), ("steps", "1-20"), prompt=prompt)) == 400
    values = ",".join(f"v{index}" for index in range(99))
    lines = "\n".join(["{" + "a|" * 1000 + "b}"] * 12)
    with pytest.raises(InvalidRequestError, match="too complex"):
        plan(lines, one_per_line=True)
    with pytest.raises(InvalidRequestError, match="too long for so many values"):
        grid_requests(("prompt", f"red,{values}"), prompt=prompt)


def test_prompt_parts_are_replaced_as_in_automatic1111() -> None:
    """The first value of a prompt part is what the others replace, everywhere, and at once."""
    cells = grid_requests(
        ("prompt", 'red,fox,""'),
        ("prompt", "fox,red cat"),
        prompt="a red fox",
        negative_prompt="red",
    )
    assert [cell.request.prompt for cell in cells] == [
        *("a red fox", "a fox fox", "a  fox"),
        *("a red red cat", "a fox red cat", "a  red cat"),
    ]
    assert [cell.request.negative_prompt for cell in cells] == ["red", "fox", ""] * 2
    cells = grid_requests(("prompt", "red, {blue|green}"), ("style", "none, Watercolor"))
    assert cells[1].request.prompt.split()[1] in {"blue", "green"}
    assert dict(cells[3].origin.prompt_sources)["Styles"] == "Watercolor"


@pytest.mark.parametrize(
    ("axes", "message", "field"),
    [
        ([("prompt", "cat,dog")], "“cat”: the prompt doesn't contain", "columns"),
        ([("steps", "9"), ("prompt", '"",a')], "can't be empty", "rows"),
        ([("prompt", "red,a"), ("prompt", "red,b")], "replace the same words", "columns"),
        ([("prompt", "red,a"), ("prompt", "re,b")], "“re”: the prompt doesn't contain", "rows"),
        ([("steps", "20"), ("guidance", "4, 9")], "Guidance scale 9: ", "rows"),
        ([("size", "1000x1000")], "Size 1000 × 1000: Width must be a multiple", "columns"),
        ([("size", "21:1")], "Size 21:1 isn't available", "columns"),
        ([("seed", "1-2"), ("seed", "3")], "Both axes are “Seed”", "columns"),
        ([("seed", "1-50"), ("steps", "1-50")], "50 × 50 = 2,500 images", "columns"),
    ],
)
def test_wrong_grids_name_the_axis(axes: list[tuple[str, str]], message: str, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        grid_requests(*axes)
    assert message in str(caught.value)
    assert [error.field for error in caught.value.field_errors] == [field]


def test_ideas_are_prompts_without_syntax() -> None:
    """Each example has a small thumbnail; each template is valid, and names shipped wildcards."""
    ideas = shipped_ideas()
    wildcards = WildcardFolders(SHIPPED_WILDCARDS)
    assert len(ideas.examples) == 6
    for example in ideas.examples:
        assert (ASSETS / f"{example.thumbnail}.webp").stat().st_size <= 20_000
    prompts = [Template(text, wildcards).sample(7) for text in ideas.templates]
    prompts += [example.prompt for example in ideas.examples]
    for prompt in prompts:
        assert not has_template_syntax(prompt)
        assert not find_unsupported(prompt)
    assert ideas.draw(wildcards, SystemRandom())
