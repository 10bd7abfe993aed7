"""The challenge's contract as types: what /process, /tokenize and /decode take and give.

HELM and the challenge's own OpenAPI file name some fields differently; both spellings are taken.

Where it sits: between HTTP (server.py) and the engine.
"""

from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema

MAX_PROMPT_CHARACTERS = 1_000_000


class _Request(BaseModel):
    # Unknown keys are let through: a client of tomorrow that sends one more must not lose its run.
    # Strict: `false` is no number, as the OpenAPI says.
    model_config = ConfigDict(extra="ignore", populate_by_name=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        """Clients write `null` for what they do not set; a field that is required is missing then."""
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Says so in the OpenAPI."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name, field in schema["properties"].items():
            if name not in schema.get("required", ()) and {"type": "null"} not in field.get("anyOf", ()):
                about = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
                schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **about}
        return schema


def _whole(value: Any) -> Any:
    """JSON knows no difference between 1.0 and 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _all_whole(values: Any) -> Any:
    """`_whole` of each; a list of integers, which may be a million long, is passed on as it is."""
    is_odd = isinstance(values, list) and not all(type(value) is int for value in values)
    return [_whole(value) for value in values] if is_odd else values


WHOLE = BeforeValidator(_whole)
"""Behind the bounds in an annotation, or they do not reach the OpenAPI."""

Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]


class ProcessRequest(_Request):
    """A prompt to complete. Defaults are the challenge's."""

    prompt: Prompt
    temperature: float = Field(default=0.0, ge=0, le=100)
    """At most 1e-5 means greedy; HELM sends 1e-7 for 0."""
    num_return_sequences: Annotated[int, Field(ge=1, le=1), WHOLE] = Field(
        default=1, validation_alias=AliasChoices("num_return_sequences", "num_samples")
    )
    """Only 1 is served."""
    max_new_tokens: Annotated[int, Field(ge=0), WHOLE] = 50
    """More than the window holds is cut to what it holds, and the answer says so."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: Annotated[int, Field(ge=1), WHOLE] | None = None
    """The challenge's sampling parameter."""
    top_k_per_token: Annotated[int, Field(ge=0), WHOLE] = 1
    """HELM asks for so many alternatives per token; the best one is returned, as the contract says."""
    echo_prompt: bool = False
    stop_sequences: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(default=[], max_length=32)
    seed: Annotated[int, Field(ge=0, le=2**53 - 1), WHOLE] | None = None
    """Up to what every JSON reader takes for an integer."""


class Token(BaseModel):
    """One token of an answer."""

    text: str
    logprob: float
    top_logprob: dict[str, float]
    """The most likely token at this place and its log-probability. HELM 0.3 requires it, later ones ignore it."""


class ProcessResponse(BaseModel):
    """An answer. `text` is the tokens' text in a row, `logprob` the sum of theirs."""

    text: str
    tokens: list[Token]
    logprob: float
    request_time: float
    max_new_tokens: int | None = None
    """Only where fewer new tokens were allowed than asked for: so many, for the window holds no more."""


class TokenizeRequest(_Request):
    """A text to tokenize, without a BOS token in front."""

    text: Prompt
    truncation: bool = True
    max_length: Annotated[int, Field(ge=0), WHOLE] = 2048


class TokenizeResponse(BaseModel):
    """Token ids."""

    tokens: list[int]
    request_time: float


class DecodeRequest(_Request):
    """Token ids to turn back into text."""

    tokens: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_PROMPT_CHARACTERS), BeforeValidator(_all_whole)
    ]


class DecodeResponse(BaseModel):
    """The text."""

    text: str
    request_time: float


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str


class InvalidField(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int]
    msg: str
    type: str


class Invalid(BaseModel):
    """What is wrong with a request."""

    detail: list[InvalidField]


class Health(BaseModel):
    """Which model answers."""

    status: str
    model: str
    lora_adapter: str | None
    precision: str
