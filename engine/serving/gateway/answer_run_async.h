// One completion request from its body to the last byte of its answer. For .cpp files: holds
// coroutines.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/serving/gateway/admission.h"
#include "engine/serving/gateway/answer_outlet.h"
#include "engine/serving/gateway/answer_presenter.h"
#include "engine/serving/gateway/engine_line.h"
#include "engine/serving/gateway/engine_visit_async.h"
#include "engine/serving/gateway/gateway_core_async.h"
#include "engine/serving/http/http_message.h"
#include "engine/serving/text_service/answer_envelope.h"

namespace dsl::serving {

struct AnswerOrder {
  AnswerKind kind = AnswerKind::kChat;
  std::string_view route;  // of a constant
  std::string body;
  std::string request_id;
  std::string client_address;
  std::shared_ptr<KeyState> key;
};

/// Keeps all that continuing needs: prompt, parameters, emitted tokens. When an engine's stream
/// breaks, the request goes on at another engine, or at the same one after its repair, and the
/// client sees one answer. Belongs to the loop's thread.
class AnswerRun final : public ResponseStream, public std::enable_shared_from_this<AnswerRun> {
 public:
  static std::shared_ptr<AnswerRun> start(std::shared_ptr<GatewayCore> core, AnswerOrder order);
  ~AnswerRun() override;

  void on_ready(std::function<void()> wake) override { outlet_.on_ready(std::move(wake)); }
  Piece take() override { return outlet_.take(); }
  void abandon() override;

 private:
  using Clock = std::chrono::steady_clock;
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;

  struct Choice {
    EngineCall call;
    std::shared_ptr<AnswerPresenter> presenter;
    std::string stream_id;         // by which engines find it; empty: they cannot
    ClientCall* active = nullptr;  // the engine's stream while there is one
    std::string endpoint;          // of that engine
    bool is_stopped = false;       // before its engine knew, which has been told
    std::set<EngineKey> excluded;  // engines that refused it just now
    std::string json;              // of an answer that is not streamed
    std::int64_t num_completion_tokens = 0;
    std::int64_t num_reasoning_tokens = 0;
    std::int64_t num_cached_tokens = 0;
  };
  /// How a stream of an engine ended for a choice.
  struct Outcome {
    enum class Kind { kDone, kElsewhere, kRefused };
    Kind kind = Kind::kDone;
    Error error = {};
  };

  AnswerRun(std::shared_ptr<GatewayCore> core, AnswerOrder order);

  static Awaitable<void> run(std::shared_ptr<AnswerRun> self);
  static Awaitable<void> answer(std::shared_ptr<AnswerRun> self, std::size_t index);
  static Awaitable<void> tell_engine(std::shared_ptr<AnswerRun> self, Choice* choice);
  Awaitable<TextPool::Prepared> prepare();
  Status open(PreparedRequest prepared);
  Awaitable<Outcome> stream_from(Choice& choice, const EngineKey& engine);
  Awaitable<std::optional<Outcome>> begin(Choice& choice, const EngineKey& engine,
                                          ClientCall& call);
  Awaitable<Outcome> take_refusal(Choice& choice, const EngineKey& engine, ClientCall& call,
                                  int status);
  Outcome judge_break(const Choice& choice, const EngineKey& engine, Error error);
  std::optional<Outcome> take_lines(Choice& choice, EngineVisit& visit, std::string_view lines);
  void take_update(Choice& choice, PresentedUpdate presented);
  void stop_engine(Choice& choice);
  void count_tokens(const Choice& choice, std::int64_t num_new_tokens);
  void note_tokens(std::int64_t num_tokens);
  void emit(Choice& choice, std::string choice_json);
  void send(std::initializer_list<std::string_view> event_parts);
  void complete();
  void fail(const Error& error);
  void refuse(HttpResponse response);
  void close(int status);
  double seconds_since_start() const;

  const std::shared_ptr<GatewayCore> core_;
  AnswerOrder order_;
  const Clock::time_point start_ = Clock::now();
  std::vector<std::unique_ptr<Choice>> choices_;
  std::optional<AnswerEnvelope> envelope_;
  std::int64_t num_prompt_tokens_ = 0;
  bool is_streamed_ = false;
  bool includes_usage_ = false;
  bool is_over_ = false;  // nothing more will be computed
  std::size_t num_open_choices_ = 0;
  int num_continuations_ = 0;
  std::optional<Clock::time_point> last_token_;
  double first_token_s_ = 0;
  std::string engine_id_;  // the last one
  AnswerOutlet outlet_;
};

}  // namespace dsl::serving
