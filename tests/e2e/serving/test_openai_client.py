"""The official OpenAI client, unmodified."""

import threading
import time

import openai
import pytest

from deployment import MODEL_NAME, eventually

QUESTION = [{"role": "user", "content": "What is 47 + 85?"}]
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


@pytest.fixture(scope="module")
def client(deployment):
    with openai.OpenAI(base_url=deployment.base_url, api_key=deployment.api_key, max_retries=0, timeout=30) as made:
        yield made


def ask(client, **fields):
    return client.chat.completions.create(**{"model": MODEL_NAME, "messages": QUESTION, **fields})


def collect(stream):
    """Content, reasoning and finish reason of the only choice of a stream."""
    content, reasoning, finish_reason = "", "", None
    for chunk in stream:
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            finish_reason = choice.finish_reason or finish_reason
    return content, reasoning, finish_reason


def test_models(client):
    assert [model.id for model in client.models.list()] == [MODEL_NAME]
    assert client.models.retrieve(MODEL_NAME).owned_by == "dslaunch"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_chat(client, additions):
    answer = ask(client)
    (choice,) = answer.choices
    assert "132" in choice.message.content and "</think>" not in choice.message.content
    assert "7+5=12" in choice.message.reasoning_content.replace(" ", "")
    assert choice.message.role == "assistant" and choice.finish_reason == "stop"
    assert answer.object == "chat.completion" and answer.model == MODEL_NAME
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    for question, total in additions[:10]:
        content = ask(client, messages=[{"role": "user", "content": question}]).choices[0].message.content
        assert str(total) in content, question


def test_conversation(client):
    first = ask(client).choices[0].message
    messages = [{"role": "system", "content": "Answer briefly."}, *QUESTION,
                {"role": "assistant", "content": first.content}, {"role": "user", "content": "What is 20 + 31?"}]
    assert "51" in ask(client, messages=messages).choices[0].message.content


def test_streaming_is_the_whole_answer(client):
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    message = whole.choices[0].message
    assert collect(chunks) == (message.content, message.reasoning_content, "stop")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].object == "chat.completion.chunk"
    *others, last = chunks
    assert all(chunk.usage is None for chunk in others) and last.choices == []
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens


def test_streaming_begins_before_the_answer_ends(client):
    # Long enough that no pause of a busy machine lasts from its first token to its last.
    chunks = list(ask(client, stream=True, max_tokens=450, extra_body={"ignore_eos": True}))
    assert len(chunks) > 5, "it came in one piece"


def test_stream_helper(client):
    with client.chat.completions.stream(model=MODEL_NAME, messages=QUESTION) as stream:
        for _ in stream:
            pass
        assert "132" in stream.get_final_completion().choices[0].message.content


def test_closing_a_stream_cancels_it(client, deployment):
    stream = client.completions.create(model=MODEL_NAME, prompt="1", max_tokens=500, stream=True,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    assert eventually(deployment.is_idle, 5), deployment.num_running()


def test_seed_and_n(client):
    def sampled(**fields):
        answer = ask(client, temperature=2, max_tokens=40, **fields)
        return [(c.message.reasoning_content, c.message.content) for c in sorted(answer.choices, key=lambda c: c.index)]

    three = sampled(seed=7, n=3)
    assert len(three) == 3 and len(set(three)) > 1
    assert three == sampled(seed=7, n=3)
    assert three[1:2] == sampled(seed=8)
    streamed = {0: "", 1: "", 2: ""}
    for chunk in ask(client, temperature=2, max_tokens=40, seed=7, n=3, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += getattr(choice.delta, "reasoning_content", None) or ""
    assert [streamed[index] for index in range(3)] == [reasoning or "" for reasoning, _ in three]


@pytest.mark.parametrize("field", ["max_completion_tokens", "max_tokens"])
def test_length(client, field):
    answer = ask(client, **{field: 5})
    assert answer.usage.completion_tokens == 5 and answer.choices[0].finish_reason == "length"


def test_stop(client):
    full = ask(client).choices[0].message.content
    middle = full[len(full) // 2:][:3]
    stopped = ask(client, stop=[middle, "never seen"])
    assert stopped.choices[0].message.content == full[:full.index(middle)]
    assert stopped.choices[0].finish_reason == "stop"
    assert collect(ask(client, stop=middle, stream=True))[0] == full[:full.index(middle)]


def test_logit_bias_and_penalties(client):
    tokens = client.post("../tokenize", cast_to=object, body={"prompt": "Z", "add_special_tokens": False})["tokens"]
    biased = client.completions.create(model=MODEL_NAME, prompt="47", max_tokens=3, logit_bias={str(tokens[0]): 100})
    assert biased.choices[0].text == "ZZZ"
    client.completions.create(model=MODEL_NAME, prompt="47", max_tokens=3, presence_penalty=2, frequency_penalty=-2)


def test_logprobs(client):
    answer = ask(client, logprobs=True, top_logprobs=3)
    choice = answer.choices[0]
    entries = choice.logprobs.content
    assert "".join(entry.token for entry in entries).strip() == choice.message.content.strip()
    for entry in entries:
        assert len(entry.top_logprobs) == 3 and entry.logprob <= 0
        # Greedy: the best alternative is the one that was taken.
        assert entry.top_logprobs[0].token == entry.token and entry.top_logprobs[0].logprob == entry.logprob
        assert bytes(entry.bytes).decode() == entry.token
    assert choice.logprobs.reasoning_content
    streamed = [entry for chunk in ask(client, logprobs=True, top_logprobs=3, stream=True)
                for choice in chunk.choices if choice.logprobs for entry in choice.logprobs.content or []]
    assert streamed == entries


def test_tools(client):
    # The demo model knows no tools: what matters is that such requests are understood and answered.
    answer = ask(client, tools=[WEATHER], tool_choice="auto", max_tokens=20)
    assert answer.choices[0].finish_reason in ("stop", "length")
    none = ask(client, tools=[WEATHER], tool_choice="none")
    assert none.choices[0].message.content == ask(client).choices[0].message.content
    history = [*QUESTION,
               {"role": "assistant", "content": None, "tool_calls": [
                   {"id": "call_1", "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}]},
               {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    ask(client, messages=history, tools=[WEATHER], max_tokens=5)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_forced_tools_are_refused_where_the_model_reasons_first(client, choice):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, tools=[WEATHER], tool_choice=choice)
    assert refused.value.param == "tool_choice"


def test_completions(client):
    prompt = "What is 47 + 85?"
    answer = client.completions.create(model=MODEL_NAME, prompt=prompt, max_tokens=8, logprobs=2, seed=1)
    choice = answer.choices[0]
    assert answer.object == "text_completion" and answer.usage.completion_tokens <= 8
    assert "".join(choice.logprobs.tokens) == choice.text and len(choice.logprobs.top_logprobs[0]) >= 2
    streamed = client.completions.create(model=MODEL_NAME, prompt=prompt, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == choice.text
    echoed = client.completions.create(model=MODEL_NAME, prompt=prompt, max_tokens=8, echo=True)
    assert echoed.choices[0].text == prompt + choice.text
    two = client.completions.create(model=MODEL_NAME, prompt=[prompt, "20 + 31 ="], max_tokens=8)
    assert [c.index for c in two.choices] == [0, 1] and two.choices[0].text == choice.text


def test_errors_have_their_classes(client):
    with pytest.raises(openai.AuthenticationError):
        ask(client.with_options(api_key="sk-wrong"))
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(client, model="gpt-4")
    assert unknown.value.code == "model_not_found" and unknown.value.param == "model"
    with pytest.raises(openai.BadRequestError) as wrong:
        ask(client, temperature=-1)
    assert wrong.value.param == "temperature" and wrong.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as too_long:
        ask(client, messages=[{"role": "user", "content": "1 + " * 600}])
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError):
        list(ask(client, stream=True, max_tokens=-1))
    assert wrong.value.request_id


def test_rate_limits_are_waited_for(client, deployment):
    limited_key = deployment.add_key("hurried", "--requests-per-minute", "30")
    hurried = client.with_options(api_key=limited_key)

    def is_known():
        try:
            hurried.models.list()
            return True
        except openai.AuthenticationError:
            return False

    assert eventually(is_known, 5)
    with pytest.raises(openai.RateLimitError) as refused:
        for _ in range(40):
            ask(hurried, max_tokens=1)
    retry_after_s = float(refused.value.response.headers["Retry-After"])
    assert 1 <= retry_after_s <= 5
    began = time.monotonic()
    ask(hurried.with_options(max_retries=2), max_tokens=1)  # its own wait would be 0.5 s
    assert time.monotonic() - began > 0.9 * min(retry_after_s, 1)
    deployment.revoke_key("hurried")


def test_streams_per_key(client, deployment):
    single = client.with_options(api_key=deployment.add_key("single", "--max-streams", "1"))
    def opened():
        try:
            return single.completions.create(model=MODEL_NAME, prompt="1", max_tokens=500, stream=True,
                                             extra_body={"ignore_eos": True})
        except openai.AuthenticationError:
            return None

    streams = []
    assert eventually(lambda: streams.append(opened()) or streams[-1] is not None, 5)
    with pytest.raises(openai.RateLimitError):
        ask(single, max_tokens=1)
    streams[-1].close()
    assert eventually(deployment.is_idle, 5)
    ask(single, max_tokens=1)
    deployment.revoke_key("single")


def test_many_threads(client, additions):
    answers = {}

    def work(question):
        answers[question] = ask(client, messages=[{"role": "user", "content": question}]).choices[0].message.content

    threads = [threading.Thread(target=work, args=(question,)) for question, _ in additions[:16]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(str(total) in answers[question] for question, total in additions[:16])
