// Bytes of a connection to requests, however they are cut. No I/O.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "engine/serving/http/http_message.h"

namespace dsl::serving {

/// Why a request cannot be read, and the status that says so.
struct RequestProblem {
  int status = 400;
  Error error;
};

/// Reads one request: head, then body. Thread-compatible.
class HttpRequestReader {
 public:
  enum class Progress { kNeedsMore, kComplete, kBroken };

  explicit HttpRequestReader(std::size_t max_header_bytes);
  ~HttpRequestReader();

  /// Takes what belongs to the head from the front of `bytes`.
  Progress read_head(std::string& bytes);
  /// After the head: kBroken when the body is announced to be larger.
  Progress limit_body(std::size_t max_body_bytes);
  /// Takes what belongs to the body.
  Progress read_body(std::string& bytes);
  /// Valid after kBroken.
  const RequestProblem& problem() const { return problem_; }

  /// Valid after the head. Client address and server endpoint are left empty.
  HttpHead head() const;
  bool wants_continue() const;  // "Expect: 100-continue"
  bool keeps_alive() const;
  std::string take_body();

 private:
  struct Parser;
  Progress take(std::string& bytes);
  Progress broken(int status, std::string message, std::string remedy);

  const std::size_t max_header_bytes_;
  std::size_t max_body_bytes_ = 0;
  RequestProblem problem_;
  std::unique_ptr<Parser> parser_;
};

}  // namespace dsl::serving
