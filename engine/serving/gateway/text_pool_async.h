// Pre- and postprocessing for the gateway: by the deployment's text services while there are any,
// else in this process. For .cpp files: holds coroutines.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/serving/gateway/answer_presenter.h"
#include "engine/serving/gateway/engine_pool_async.h"
#include "engine/serving/gateway/text_services.h"
#include "engine/serving/text_service/text_client_async.h"

namespace dsl::serving {

/// Belongs to the loop's thread; calls keep the pool alive.
class TextPool : public std::enable_shared_from_this<TextPool> {
 public:
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;
  using Prepared = tl::expected<PreparedRequest, HttpResponse>;

  /// `metrics` and `errors` must outlive the pool's calls. Uses the engines' client.
  TextPool(EventLoop& loop, std::shared_ptr<EnginePool> engines, GatewayMetrics& metrics,
           RecentErrors& errors);

  void set_services(const std::vector<ServiceEntry>& entries);

  /// A body to a prepared request or the refusal of it; nothing when no service can do it.
  Awaitable<std::optional<Prepared>> prepare(AnswerKind kind, const std::string& body);

  /// Has what is new in the answer presented: at once here, or by a service, which gets what comes
  /// for it while it works with its next request.
  void present(const std::shared_ptr<AnswerPresenter>& answer);

 private:
  using Answers = std::vector<std::shared_ptr<AnswerPresenter>>;
  using Queue = std::deque<std::shared_ptr<AnswerPresenter>>;

  static Awaitable<void> work_off(std::shared_ptr<TextPool> self, std::string endpoint);
  static Answers take_batch(Queue& queue);
  /// False when the service failed.
  Awaitable<bool> present_batch(std::string endpoint, Answers answers);
  /// The service that an answer goes to, the same as before if possible; empty: none.
  std::string choose(const AnswerPresenter& answer);
  std::string new_stream_id();
  void note_failure(TextServices& services, TextWork work, const std::string& endpoint,
                    const Error& error);

  EventLoop& loop_;
  const std::shared_ptr<EnginePool> engines_;
  GatewayMetrics& metrics_;
  RecentErrors& errors_;
  TextClient client_;
  TextServices preprocess_{ServiceRole::kPreprocess};
  TextServices postprocess_{ServiceRole::kPostprocess};
  std::unordered_map<std::string, Queue> queues_;  // of services that work
  const std::string own_id_;                       // unlike that of any other gateway
  std::uint64_t num_streams_ = 0;
};

}  // namespace dsl::serving
