// Certificate and key of a TLS server, read again when their files change.
#pragma once

#include <memory>
#include <string>

#include "transport/base/error.h"

namespace boost::asio::ssl {
class context;
}

namespace dsl::serving {

/// Thread-compatible. Connections keep the context that they began with.
class TlsCredentials {
 public:
  /// kConfig: files that are missing, malformed or do not belong together.
  static Result<std::unique_ptr<TlsCredentials>> load(std::string certificate_path,
                                                      std::string key_path);

  std::shared_ptr<boost::asio::ssl::context> context() const { return context_; }
  /// Looks at the files. Changed ones that cannot be used leave the old ones in force; that is
  /// logged once a change.
  void reload_if_changed();

 private:
  TlsCredentials(std::string certificate_path, std::string key_path)
      : certificate_path_(std::move(certificate_path)), key_path_(std::move(key_path)) {}
  Result<std::shared_ptr<boost::asio::ssl::context>> read() const;
  std::string stamp() const;

  const std::string certificate_path_;
  const std::string key_path_;
  std::string stamp_;  // of the files when they were last read
  std::shared_ptr<boost::asio::ssl::context> context_;
};

}  // namespace dsl::serving
