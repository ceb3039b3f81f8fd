// Bytes of a connection to the answer of a server, however they are cut. No I/O.
#pragma once

#include <memory>
#include <string>

namespace dsl::serving {

/// Reads one answer: head, then body. Thread-compatible.
class HttpResponseReader {
 public:
  enum class Progress { kNeedsMore, kComplete, kBroken };

  HttpResponseReader();
  ~HttpResponseReader();

  /// Takes what belongs to the head from the front of `bytes`.
  Progress read_head(std::string& bytes);
  /// Takes what belongs to the body and appends it, decoded, to `body`.
  Progress read_body(std::string& bytes, std::string& body);

  /// Valid after the head.
  int status() const;
  bool keeps_alive() const;

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace dsl::serving
