"""The challenge's contract as types: what /process, /tokenize and /decode take and give.

HELM and the challenge's own OpenAPI file name some fields differently; both spellings are accepted.

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

from submission.engine.request import GenerationRequest

MAX_PROMPT_CHARACTERS = 1_000_000


class ApiRequest(BaseModel):
    """Base of all request bodies."""

    # Unknown keys are ignored, so that a future client that sends one more key still works.
    # Strict mode: `false` is not accepted as a number, as the OpenAPI says.
    model_config = ConfigDict(extra="ignore", populate_by_name=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        """Treats `null` as an unset field, because clients send it so; a required field is then missing."""
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Declares in the OpenAPI schema that optional fields may be null."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name, field in schema["properties"].items():
            if name not in schema.get("required", ()) and {"type": "null"} not in field.get("anyOf", ()):
                about = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
                schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **about}
        return schema


def _whole(value: Any) -> Any:
    """Converts a float that is a whole number to int: JSON does not distinguish 1.0 from 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def all_whole(values: Any) -> Any:
    """Applies `_whole` to each value; a list of integers only, which may be long, is returned unchanged."""
    is_odd = isinstance(values, list) and not all(type(value) is int for value in values)
    return [_whole(value) for value in values] if is_odd else values


WHOLE = BeforeValidator(_whole)
"""Must stand after the bounds in an annotation; otherwise the bounds do not appear in the OpenAPI schema."""

Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]


STARTER_KIT_TEMPERATURE, STARTER_KIT_TOP_K = 0.8, 200
"""The defaults of the challenge's starter kit that differ from ours. Source: its sample-submissions/lit-gpt/api.py."""


class ProcessRequest(ApiRequest):
    """A prompt to complete. Without a temperature the answer is greedy, but for a server with the starter kit's."""

    prompt: Prompt
    temperature: float = Field(default=0.0, ge=0, le=100)
    """At most 1e-5 means greedy; HELM sends 1e-7 for 0."""
    num_return_sequences: Annotated[int, Field(ge=1, le=1), WHOLE] = Field(
        default=1, validation_alias=AliasChoices("num_return_sequences", "num_samples")
    )
    """Only 1 is served."""
    max_new_tokens: Annotated[int, Field(ge=0), WHOLE] = 50
    """A number larger than the context window allows is reduced to fit, and the response says so."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: Annotated[int, Field(ge=1), WHOLE] | None = None
    """The challenge's sampling parameter."""
    top_k_per_token: Annotated[int, Field(ge=0), WHOLE] = 1
    """The number of alternatives per token that HELM asks for. Only the best one is returned, as the contract says."""
    echo_prompt: bool = False
    stop_sequences: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(default=[], max_length=32)
    seed: Annotated[int, Field(ge=0, le=2**53 - 1), WHOLE] | None = None
    """At most 2^53 - 1, the largest integer that every JSON reader represents exactly."""

    def generation(self, *, starter_kit: bool = False) -> GenerationRequest:
        """The request to the engine.

        Args:
            starter_kit: Fields that are absent or null have the starter kit's defaults, which sample. HELM always sends
                a temperature.
        """
        unset = {"temperature", "top_k"} - self.model_fields_set if starter_kit else set()
        return GenerationRequest(
            prompt=self.prompt,
            max_new_tokens=self.max_new_tokens,
            temperature=STARTER_KIT_TEMPERATURE if "temperature" in unset else self.temperature,
            top_p=self.top_p,
            top_k=STARTER_KIT_TOP_K if "top_k" in unset else self.top_k,
            seed=self.seed,
            stop=tuple(self.stop_sequences),
            echo=self.echo_prompt,
            is_challenge=True,
        )


class Token(BaseModel):
    """One token of an answer."""

    text: str
    logprob: float
    top_logprob: dict[str, float]
    """The most likely tokens at this place, best first, with their log-probabilities: one by the challenge's contract.
    HELM 0.3 requires it, later ones ignore it. Empty where no token came before."""


class ProcessResponse(BaseModel):
    """An answer. `text` is the concatenated text of the tokens and `logprob` the sum of their log-probabilities."""

    text: str
    tokens: list[Token]
    logprob: float
    request_time: float
    max_new_tokens: int | None = None
    """The number of new tokens that the context window allowed; present only if it is less than requested."""


class TokenizeRequest(ApiRequest):
    """A text to tokenize, without a BOS token in front."""

    text: Prompt
    truncation: bool = True
    max_length: Annotated[int, Field(ge=0), WHOLE] = 2048


class TokenizeResponse(BaseModel):
    """Token ids."""

    tokens: list[int]
    request_time: float


class DecodeRequest(ApiRequest):
    """Token ids to turn back into text."""

    tokens: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_PROMPT_CHARACTERS), BeforeValidator(all_whole)
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
