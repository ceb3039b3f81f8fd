#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/gateway/answer_run_async.h"
#include "engine/serving/gateway/request_log.h"
#include "engine/serving/text_service/openai_error.h"
#include "engine/serving/text_service/request_fields.h"
#include "transport/base/log.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;

/// From this size on, a body is tokenised where it holds nobody up.
constexpr std::size_t kLargeBodyBytes = 16 * 1024;
/// What an answer is taken to be long before it is known.
constexpr std::int64_t kExpectedTokens = 256;
/// A new request waits this long at most for an engine; one that has begun, the recovery time-out.
constexpr auto kNewRequestPatience = std::chrono::seconds(10);
constexpr std::size_t kMaxErrorBytes = 64 * 1024;
constexpr int kRetryAfterS = 5;
/// For an engine to take note that an answer is to end.
constexpr auto kStopTimeout = std::chrono::seconds(2);

OutstandingTokens outstanding_tokens(const EngineCall& call, std::int64_t num_emitted) {
  return {static_cast<std::int64_t>(call.prompt_token_ids->size()) + num_emitted,
          call.max_tokens > 0 ? std::min(call.max_tokens - num_emitted, kExpectedTokens)
                              : kExpectedTokens};
}

/// A text service knows the model's context, but not what the engines hold of it.
Status check_contexts(const PreparedRequest& prepared, const ServedModel& model) {
  const char* field = prepared.kind == AnswerKind::kChat ? "messages" : "prompt";
  for (const PreparedChoice& choice : prepared.choices) {
    const auto num_tokens = static_cast<std::int64_t>(choice.call.prompt_token_ids->size());
    DSL_TRY(check_context(num_tokens, choice.call.max_tokens, model, field));
  }
  return {};
}

bool is_fault_of_request(ErrorCode code) {
  return code == ErrorCode::kRequestInvalid || code == ErrorCode::kContextOverflow ||
         code == ErrorCode::kInvalidArgument || code == ErrorCode::kInvalidUtf8;
}

}  // namespace

AnswerRun::AnswerRun(std::shared_ptr<GatewayCore> core, AnswerOrder order)
    : core_(std::move(core)), order_(std::move(order)) {
  ++core_->num_running;
  ++order_.key->num_streams;
  core_->metrics.begin_request();
}

AnswerRun::~AnswerRun() = default;

std::shared_ptr<AnswerRun> AnswerRun::start(std::shared_ptr<GatewayCore> core, AnswerOrder order) {
  std::shared_ptr<AnswerRun> run(new AnswerRun(std::move(core), std::move(order)));
  asio::co_spawn(run->core_->loop.context(), AnswerRun::run(run), asio::detached);
  return run;
}

/// Ends before the answer begins: what preparing needs is freed.
asio::awaitable<void> AnswerRun::run(std::shared_ptr<AnswerRun> self) {
  TextPool::Prepared prepared = co_await self->prepare();
  if (self->is_over_) co_return;
  if (!prepared) {
    self->refuse(std::move(prepared).error());
    co_return;
  }
  const Status opened = self->open(*std::move(prepared));
  if (!opened) {
    self->fail(opened.error());
    co_return;
  }
  for (std::size_t i = 0; i < self->choices_.size(); ++i)
    asio::co_spawn(self->core_->loop.context(), answer(self, i), asio::detached);
}

asio::awaitable<TextPool::Prepared> AnswerRun::prepare() {
  const std::string body = std::move(order_.body);
  order_.body = {};
  std::optional<TextPool::Prepared> by_service = co_await core_->text->prepare(order_.kind, body);
  if (by_service) {
    const Status fits = *by_service ? check_contexts(**by_service, *core_->model) : Status{};
    if (!fits) co_return tl::unexpected<HttpResponse>(openai_error(fits.error()));
    co_return *std::move(by_service);
  }
  const auto work = [&]() -> TextPool::Prepared {
    Result<PreparedRequest> prepared = order_.kind == AnswerKind::kChat
                                           ? core_->preprocessor.prepare_chat(body)
                                           : core_->preprocessor.prepare_completion(body);
    if (!prepared) return tl::unexpected<HttpResponse>(openai_error(prepared.error()));
    return *std::move(prepared);
  };
  if (body.size() < kLargeBodyBytes) co_return work();
  const auto elsewhere = [&]() -> asio::awaitable<TextPool::Prepared> { co_return work(); };
  co_return co_await asio::co_spawn(core_->workers, elsewhere, asio::use_awaitable);
}

Status AnswerRun::open(PreparedRequest prepared) {
  is_streamed_ = prepared.is_streamed;
  includes_usage_ = prepared.includes_usage;
  num_prompt_tokens_ = prepared.num_prompt_tokens;
  order_.key->num_prompt_tokens += static_cast<std::uint64_t>(num_prompt_tokens_);
  order_.key->tokens.take(static_cast<double>(num_prompt_tokens_), AdmissionClock::now());
  envelope_.emplace(order_.kind, order_.request_id, std::time(nullptr), prepared.model,
                    includes_usage_);
  const Result<std::string> nonce = make_nonce();
  for (PreparedChoice& choice : prepared.choices) {
    auto update = [weak = weak_from_this(), index = choices_.size()](PresentedUpdate presented) {
      if (const auto self = weak.lock())
        self->take_update(*self->choices_[index], std::move(presented));
    };
    DSL_ASSIGN(auto presenter,
               AnswerPresenter::open(core_->model, std::move(choice.format), std::move(update)));
    choices_.push_back(std::make_unique<Choice>());
    choices_.back()->call = std::move(choice.call);
    choices_.back()->presenter = std::move(presenter);
    // Not of the request's id, which clients choose: they would find each other's answers by it.
    if (nonce) choices_.back()->stream_id = fmt::format("{}-{}", *nonce, choices_.size());
  }
  num_open_choices_ = choices_.size();
  return {};
}

asio::awaitable<void> AnswerRun::answer(std::shared_ptr<AnswerRun> self, std::size_t index) {
  Choice& choice = *self->choices_[index];
  EnginePool& pool = *self->core_->pool;
  const std::uint64_t prefix = prefix_hash(*choice.call.prompt_token_ids);
  Clock::time_point waiting_since = Clock::now();
  Error last_error{ErrorCode::kUnreachable, "no engine is ready", "try again soon"};
  while (!self->is_over_ && !choice.presenter->has_ended()) {
    const std::optional<EngineKey> engine = pool.router().choose(prefix, choice.excluded);
    if (!engine) {
      const bool is_overloaded = last_error.code == ErrorCode::kOverloaded;
      const bool has_begun = choice.presenter->tokens().size() > 0;
      const auto patience = has_begun ? self->core_->recovery_timeout
                                      : std::min<std::chrono::milliseconds>(
                                            self->core_->recovery_timeout, kNewRequestPatience);
      // All queues are full: the client is told so, unless its answer has begun.
      if ((is_overloaded && !has_begun) || Clock::now() - waiting_since > patience) {
        self->fail(last_error);
        co_return;
      }
      choice.excluded.clear();
      co_await pool.wait_a_moment();
      continue;
    }
    self->engine_id_ = engine->id;
    const std::size_t num_before = choice.presenter->tokens().size();
    const Outcome outcome = co_await self->stream_from(choice, *engine);
    if (self->is_over_ || outcome.kind == Outcome::Kind::kDone) break;
    if (outcome.kind == Outcome::Kind::kRefused) {
      self->fail(outcome.error);
      co_return;
    }
    last_error = outcome.error;
    const std::size_t num_tokens = choice.presenter->tokens().size();
    if (num_tokens > num_before) waiting_since = Clock::now();
    if (num_tokens == 0) {
      self->core_->metrics.count_retry();
    } else {
      ++self->num_continuations_;
      self->core_->metrics.count_continuation();
    }
  }
}

asio::awaitable<AnswerRun::Outcome> AnswerRun::stream_from(Choice& choice,
                                                           const EngineKey& engine) {
  ClientCall call(core_->pool->client(), engine.endpoint);
  const auto num_emitted = static_cast<std::int64_t>(choice.presenter->tokens().size());
  EngineVisit visit(*core_->pool, engine, outstanding_tokens(choice.call, num_emitted), call,
                    choice.active);
  choice.endpoint = engine.endpoint;
  std::optional<Outcome> outcome = co_await begin(choice, engine, call);
  if (outcome) co_return *std::move(outcome);
  const Result<bool> has_ended = co_await call.read_lines([&](std::string_view lines) {
    outcome = take_lines(choice, visit, lines);
    return !outcome;
  });
  if (outcome) co_return *std::move(outcome);
  if (!has_ended) co_return judge_break(choice, engine, has_ended.error());
  co_return judge_break(
      choice, engine,
      {ErrorCode::kUnreachable, "the engine ended its answer in the middle", "try again"});
}

/// Sends the request. Nothing when the answer comes.
asio::awaitable<std::optional<AnswerRun::Outcome>> AnswerRun::begin(Choice& choice,
                                                                    const EngineKey& engine,
                                                                    ClientCall& call) {
  ClientRequest request;
  request.method = "POST";
  request.target = "/v1/generate";
  request.body =
      to_engine_json(choice.call, {choice.presenter->tokens().ids(), order_.key->key.name,
                                   order_.key->key.priority, order_.request_id, choice.stream_id});
  const Result<int> status = co_await call.send(std::move(request));
  if (!status) co_return judge_break(choice, engine, status.error());
  if (*status != 200) co_return co_await take_refusal(choice, engine, call, *status);
  co_return std::nullopt;
}

/// The engine answered with another status: it is full, ending, or the request is wrong.
asio::awaitable<AnswerRun::Outcome> AnswerRun::take_refusal(Choice& choice, const EngineKey& engine,
                                                            ClientCall& call, int status) {
  const Result<std::string> body = co_await call.read_all(kMaxErrorBytes);
  Error error = parse_engine_refusal(status, body ? *body : std::string());
  if (status == 429 || status == 503) {
    choice.excluded.insert(engine);
    co_return Outcome{Outcome::Kind::kElsewhere, std::move(error)};
  }
  co_return Outcome{Outcome::Kind::kRefused, std::move(error)};
}

AnswerRun::Outcome AnswerRun::judge_break(const Choice& choice, const EngineKey& engine,
                                          Error error) {
  // A stop string was found, and the engine could not be told.
  if (choice.presenter->has_ended()) return {};
  if (is_fault_of_request(error.code)) return {Outcome::Kind::kRefused, std::move(error)};
  if (error.code == ErrorCode::kAuthentication) core_->pool->note_refused(engine, error);
  if (!is_over_) core_->pool->note_broken_stream(engine, error);
  return {Outcome::Kind::kElsewhere, std::move(error)};
}

/// What came of the stream's tokens before an error in it counts.
std::optional<AnswerRun::Outcome> AnswerRun::take_lines(Choice& choice, EngineVisit& visit,
                                                        std::string_view lines) {
  std::vector<sampling::SampledToken> tokens;
  std::optional<AnswerEnd> end;
  std::optional<Error> error;
  while (!lines.empty() && !end && !error) {
    const std::size_t length = lines.find('\n');
    const std::string_view text = lines.substr(0, length);
    lines.remove_prefix(length + 1);
    if (text.empty()) continue;
    Result<EngineLine> line = parse_engine_line(text);
    if (!line) {
      error = std::move(line).error();
      break;
    }
    std::move(line->tokens.begin(), line->tokens.end(), std::back_inserter(tokens));
    end = line->end;
    if (end) choice.num_cached_tokens = line->num_cached_tokens;
  }
  if (end) choice.active = nullptr;
  if (!tokens.empty() && !choice.is_stopped) {
    const auto num_tokens = static_cast<std::int64_t>(tokens.size());
    visit.note_tokens(num_tokens);
    order_.key->num_completion_tokens += tokens.size();
    order_.key->tokens.take(static_cast<double>(num_tokens), Clock::now());
  }
  choice.presenter->add(tokens, end);
  core_->text->present(choice.presenter);
  if (choice.is_stopped && !end && !error) return std::nullopt;  // the last line is on its way
  if (is_over_ || choice.presenter->has_ended()) return Outcome{};
  if (error) return judge_break(choice, visit.engine(), *std::move(error));
  return std::nullopt;
}

void AnswerRun::take_update(Choice& choice, PresentedUpdate presented) {
  if (is_over_) return;
  if (presented.num_new_tokens > 0) note_tokens(presented.num_new_tokens);
  count_tokens(choice, presented.update.num_completion_tokens - choice.num_completion_tokens);
  choice.num_completion_tokens = presented.update.num_completion_tokens;
  choice.num_reasoning_tokens = presented.update.num_reasoning_tokens;
  emit(choice, std::move(presented.update.choice_json));
  if (is_over_) return;
  if (!presented.end) {
    if (presented.update.is_stopped && choice.active != nullptr) stop_engine(choice);
    return;
  }
  core_->metrics.count_success(*presented.end == AnswerEnd::kStop ? "stop" : "length",
                               static_cast<std::int64_t>(choice.call.prompt_token_ids->size()),
                               choice.num_completion_tokens);
  if (--num_open_choices_ == 0) complete();
}

/// The engine is told, so that it counts an answer that has ended, not a client that has left.
void AnswerRun::stop_engine(Choice& choice) {
  if (choice.stream_id.empty()) return choice.active->cancel();
  choice.is_stopped = true;
  asio::co_spawn(core_->loop.context(), tell_engine(shared_from_this(), &choice), asio::detached);
}

/// Its stream ends by itself then.
asio::awaitable<void> AnswerRun::tell_engine(std::shared_ptr<AnswerRun> self, Choice* choice) {
  ClientRequest request;
  request.method = "POST";
  request.target = "/v1/stop";
  request.body = fmt::format(R"({{"stream_id":"{}"}})", choice->stream_id);
  const Result<ClientAnswer> answer = co_await self->core_->pool->client().exchange(
      choice->endpoint, std::move(request), kStopTimeout);
  const bool is_told = answer && answer->status == 200;
  if (!is_told && choice->active != nullptr) choice->active->cancel();
}

void AnswerRun::count_tokens(const Choice& choice, std::int64_t num_new_tokens) {
  if (num_new_tokens == 0) return;
  if (choice.num_completion_tokens == 0) {
    core_->metrics.count_prompt_tokens(
        static_cast<std::int64_t>(choice.call.prompt_token_ids->size()));
  }
  core_->metrics.count_generation_tokens(num_new_tokens);
}

void AnswerRun::note_tokens(std::int64_t num_tokens) {
  const Clock::time_point now = Clock::now();
  if (!last_token_) {
    first_token_s_ = seconds_since_start();
    core_->metrics.note_first_token(first_token_s_);
  } else {
    const std::chrono::duration<double> passed = now - *last_token_;
    core_->metrics.note_next_tokens(passed.count(), num_tokens);
  }
  last_token_ = now;
}

void AnswerRun::emit(Choice& choice, std::string choice_json) {
  if (choice_json.empty()) return;
  if (is_streamed_) {
    send({envelope_->chunk_head(), choice_json, envelope_->chunk_tail()});
  } else {
    choice.json = std::move(choice_json);
  }
}

void AnswerRun::send(std::initializer_list<std::string_view> event_parts) {
  if (is_over_ || outlet_.send_event(event_parts)) return;
  core_->metrics.count_slow_reader();
  close(499);
}

void AnswerRun::complete() {
  Usage usage;
  usage.num_prompt_tokens = num_prompt_tokens_;
  for (const auto& choice : choices_) {
    usage.num_completion_tokens += choice->num_completion_tokens;
    usage.num_reasoning_tokens += choice->num_reasoning_tokens;
  }
  usage.num_cached_prompt_tokens = choices_.front()->num_cached_tokens;
  if (is_streamed_) {
    if (includes_usage_) send({envelope_->usage_chunk(usage)});
    send({"[DONE]"});
    outlet_.end_events();
  } else {
    std::vector<std::string> jsons;
    for (const auto& choice : choices_) jsons.push_back(std::move(choice->json));
    HttpResponse response;
    response.body = envelope_->whole(jsons, usage) + "\n";
    response.headers = {{"X-Request-Id", order_.request_id}};
    outlet_.send_whole(std::move(response));
  }
  close(200);
}

void AnswerRun::fail(const Error& error) {
  if (is_over_) return;
  HttpResponse response = openai_error(error);
  // Errors of a client's making may hold its text.
  if (response.status >= 429 && !is_fault_of_request(error.code))
    core_->status.errors().note("a request", error, std::time(nullptr));
  if (!outlet_.has_sent_events()) return refuse(std::move(response));
  send({openai_error_json(error)});
  outlet_.end_events();
  close(response.status);
}

/// An error in place of an answer.
void AnswerRun::refuse(HttpResponse response) {
  const int status = response.status;
  response.headers = {{"X-Request-Id", order_.request_id}};
  if (status == 503 || status == 429)
    response.headers.emplace_back("Retry-After", std::to_string(kRetryAfterS));
  outlet_.send_whole(std::move(response));
  close(status);
}

/// Nothing more is computed; what is ready still goes to the client.
void AnswerRun::close(int status) {
  if (is_over_) return;
  is_over_ = true;
  for (const auto& choice : choices_) {
    choice->presenter->drop();
    if (choice->active != nullptr && !choice->is_stopped) choice->active->cancel();
  }
  --core_->num_running;
  --order_.key->num_streams;
  const double duration_s = seconds_since_start();
  core_->metrics.end_request(duration_s);
  core_->metrics.count_answer(order_.route, status);
  std::int64_t num_completion_tokens = 0;
  for (const auto& choice : choices_) num_completion_tokens += choice->num_completion_tokens;
  log_request({order_.request_id, order_.key->key.name, order_.route, order_.client_address,
               engine_id_, status, num_prompt_tokens_, num_completion_tokens, num_continuations_,
               first_token_s_, duration_s});
  outlet_.wake();
}

void AnswerRun::abandon() {
  outlet_.forget_client();
  if (is_over_) return;
  core_->metrics.count_cancelled();
  close(499);
}

double AnswerRun::seconds_since_start() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

}  // namespace dsl::serving
