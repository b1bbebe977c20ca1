"""What can be typed: each option and argument with its help, as types for the commands' parameters."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

__all__ = [
    "Aspect",
    "CheckFiles",
    "Count",
    "ExportTarget",
    "GeneratedPassword",
    "Guidance",
    "Height",
    "ImportSource",
    "Infotext",
    "Json",
    "JsonEvents",
    "JsonLines",
    "KeepGoing",
    "LibraryFolder",
    "Limit",
    "Negative",
    "OutputFolder",
    "PictureName",
    "Prompt",
    "PromptsFile",
    "Proxy",
    "Quiet",
    "SavePreviews",
    "SearchTerms",
    "Seed",
    "ShowAll",
    "Space",
    "SpaceFolder",
    "SpaceName",
    "Steps",
    "Token",
    "TryPicture",
    "UserName",
    "UsersFile",
    "Version",
    "WaitSeconds",
    "Width",
]

Prompt = Annotated[
    str | None, Argument(metavar="PROMPT", show_default=False, help="What is to be seen.")
]
Negative = Annotated[str, Option(metavar="TEXT", show_default=False, help="What isn't to be seen.")]
Aspect = Annotated[
    str | None,
    Option(
        metavar="RATIO", help="Such as 16:9: the size is the largest that the Space makes of it."
    ),
]
Width = Annotated[int | None, Option(metavar="PIXELS", help="The width, in multiples of 16.")]
Height = Annotated[int | None, Option(metavar="PIXELS", help="The height, in multiples of 16.")]
Steps = Annotated[int | None, Option(metavar="N", help="The number of inference steps.")]
Guidance = Annotated[
    float | None, Option(metavar="SCALE", help="How closely the prompt is followed.")
]
Seed = Annotated[
    int | None,
    Option(
        metavar="N",
        help="The first picture's seed; with --count, those after it have the next ones. If not given, each is "
        "drawn, and told in the file's name.",
    ),
]
Count = Annotated[
    int, Option(metavar="N", min=1, max=1000, help="How many pictures are made of each prompt.")
]
OutputFolder = Annotated[
    Path,
    Option(
        "--out",
        "-o",
        metavar="FOLDER",
        show_default=False,
        help="Where pictures are saved, by default here; made if it is missing. No file is ever overwritten.",
    ),
]
PromptsFile = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Prompts, one a line; empty lines, and those that begin with #, are passed over. - is the standard input.",
    ),
]
SavePreviews = Annotated[
    bool,
    Option(
        "--previews",
        help="Keep the previews, too, beside the picture: its name and -preview-01, -02, …",
    ),
]
KeepGoing = Annotated[
    bool, Option("--keep-going", help="Make the next picture after one has failed.")
]
Quiet = Annotated[
    bool, Option("--quiet", "-q", help="Tell only of failures, and of demo pictures.")
]
JsonEvents = Annotated[
    bool,
    Option("--json", help="Write each event to the standard output as a JSON object, one a line."),
]

Space = Annotated[
    str | None,
    Option(
        metavar="SPACE",
        help="owner/name, an address, or demo: the embedded demo painter. If not given: SD35_SPACE, or else "
        "stabilityai/stable-diffusion-3.5-large.",
    ),
]
SpaceName = Annotated[
    str | None,
    Argument(
        metavar="NAME",
        show_default=False,
        help="owner/name, an address, or demo. If not given: SD35_SPACE, or else "
        "stabilityai/stable-diffusion-3.5-large.",
    ),
]
Token = Annotated[
    str | None,
    Option(
        metavar="TOKEN",
        help="A token for the Space. HF_TOKEN, which `ps` doesn't show, is the better way.",
    ),
]
Proxy = Annotated[
    str | None,
    Option(
        metavar="ADDRESS",
        help="The HTTP proxy, http://host:port. If not given: what the system says.",
    ),
]

Json = Annotated[bool, Option("--json", help="Write a JSON object to the standard output.")]
WaitSeconds = Annotated[
    int,
    Option(
        metavar="SECONDS",
        min=0,
        max=86400,
        help="How long a Space that is asleep is waited for; 0: not.",
    ),
]
TryPicture = Annotated[
    bool,
    Option(
        "--try",
        help="Ask for a picture, too: the smallest, in one step. It costs some of your quota.",
    ),
]
SpaceFolder = Annotated[
    Path,
    Argument(
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        show_default=False,
        help="The folder of this program; the current one, if not given.",
    ),
]
CheckFiles = Annotated[
    bool, Option("--check", help="Say what is amiss with them instead, and what to do about it.")
]
UserName = Annotated[
    str,
    Argument(
        metavar="NAME",
        show_default=False,
        help="Whose login it is; capitals are the same as small letters.",
    ),
]
UsersFile = Annotated[
    Path,
    Option(
        "--file",
        metavar="FILE",
        show_default=False,
        help="The file of those who may log in: users.txt in this folder, if not given.",
    ),
]
GeneratedPassword = Annotated[
    bool,
    Option(
        "--generate",
        help="Make a password, and write it to the standard output: it isn't shown again.",
    ),
]

LibraryFolder = Annotated[
    Path | None,
    Option(
        "--library",
        metavar="FOLDER",
        help="The library. If not given: SD35_LIBRARY, or else SD 3.5 Studio among your pictures.",
    ),
]
SearchTerms = Annotated[
    list[str] | None,
    Argument(
        metavar="WORDS",
        show_default=False,
        help="What is searched for: words, '\"a phrase\"', -word, and seed:7 size:1024x576 ratio:16:9 steps:40 "
        "space:turbo model:medium tag:sea tool:comfyui before:2026-11-01 after:2026-10 on:2026-11-24 is:starred "
        "is:demo is:trash is:missing is:failed. Everything, if not given.",
    ),
]
Limit = Annotated[
    int, Option(metavar="N", min=1, help="How many pictures are told, the newest first.")
]
ShowAll = Annotated[bool, Option("--all", help="Tell all of them.")]
JsonLines = Annotated[
    bool, Option("--json", help="Write JSON objects to the standard output, one a line.")
]
PictureName = Annotated[
    str,
    Argument(
        metavar="ID|PATH",
        show_default=False,
        help="A picture in the library, or the file of any picture.",
    ),
]
Infotext = Annotated[
    bool, Option("--infotext", help="Write only the text that other tools read settings from.")
]
ExportTarget = Annotated[
    Path,
    Argument(
        metavar="TARGET",
        show_default=False,
        help="A folder, or a file that ends with .zip: not there yet.",
    ),
]
ImportSource = Annotated[
    Path,
    Argument(
        metavar="SOURCE",
        exists=True,
        show_default=False,
        help="A folder, a .zip, or a picture; or an export.",
    ),
]
Version = Annotated[bool, Option("--version", help="Show the version and end.")]
