// What goes out to the client that asked.
#pragma once

#include <functional>
#include <initializer_list>
#include <string_view>

#include "engine/serving/http/http_message.h"

namespace dsl::serving {

/// Server-sent events, or one whole response in their place. Holds what the client has not taken
/// yet, and no more of it than a limit. Belongs to the loop's thread.
class AnswerOutlet {
 public:
  /// `wake` is called when there is something to take; it may not take at once.
  void on_ready(std::function<void()> wake) { wake_ = std::move(wake); }
  ResponseStream::Piece take();
  /// The client is gone: nobody is woken any more.
  void forget_client() { wake_ = nullptr; }

  /// An event of these parts. False: the client is too far behind. What it has not taken is
  /// dropped; wake() ends it.
  [[nodiscard]] bool send_event(std::initializer_list<std::string_view> parts);
  /// After the last event. Goes out with wake(), as does a whole response.
  void end_events() { piece_.is_last = true; }
  void send_whole(HttpResponse response);
  void wake() const;

  bool has_sent_events() const { return has_sent_events_; }

 private:
  ResponseStream::Piece piece_;
  std::function<void()> wake_;
  bool has_sent_events_ = false;
};

}  // namespace dsl::serving
