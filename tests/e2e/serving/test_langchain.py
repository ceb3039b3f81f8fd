"""LangChain's OpenAI binding, unmodified."""

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI

from deployment import MODEL_NAME


@pytest.fixture(scope="module")
def chat(deployment):
    return ChatOpenAI(model=MODEL_NAME, base_url=deployment.base_url, api_key=deployment.api_key,
                      max_retries=0, timeout=30, stream_usage=True)


def test_invoke(chat):
    answer = chat.invoke([SystemMessage("Answer briefly."), HumanMessage("What is 47 + 85?")])
    assert "132" in answer.content
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["output_token_details"]["reasoning"] > 0


def test_stream(chat):
    chunks = list(chat.stream("What is 47 + 85?"))
    whole = chat.invoke("What is 47 + 85?")
    assert "".join(chunk.content for chunk in chunks) == whole.content
    totals = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert totals[-1]["output_tokens"] == whole.usage_metadata["output_tokens"]


def test_batch(chat, additions):
    answers = chat.batch([question for question, _ in additions[:8]])
    assert all(str(total) in answer.content for answer, (_, total) in zip(answers, additions[:8]))


def test_tools(chat):
    @tool
    def get_weather(city: str) -> str:
        """Weather of a city."""
        return "sunny"

    answer = chat.bind_tools([get_weather]).invoke("What is 47 + 85?", max_tokens=20)
    assert answer.tool_calls == []


def test_completion(deployment):
    model = OpenAI(model=MODEL_NAME, base_url=deployment.base_url, api_key=deployment.api_key, max_tokens=8,
                   temperature=0, max_retries=0)
    assert model.invoke("20 + 31 =") == "".join(model.stream("20 + 31 ="))
