#include "engine/serving/http/tls_credentials.h"

#include <sys/stat.h>

#include <boost/asio/ssl/context.hpp>

#include "transport/base/log.h"

namespace dsl::serving {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

/// Changes whenever the file is written or replaced.
std::string stamp_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "none";
  return fmt::format("{}.{}.{}.{}.{}", status.st_dev, status.st_ino, status.st_size,
                     status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

}  // namespace

Result<std::unique_ptr<TlsCredentials>> TlsCredentials::load(std::string certificate_path,
                                                             std::string key_path) {
  std::unique_ptr<TlsCredentials> credentials(
      new TlsCredentials(std::move(certificate_path), std::move(key_path)));
  credentials->stamp_ = credentials->stamp();
  DSL_ASSIGN(credentials->context_, credentials->read());
  return credentials;
}

std::string TlsCredentials::stamp() const {
  return stamp_of(certificate_path_) + " " + stamp_of(key_path_);
}

Result<std::shared_ptr<ssl::context>> TlsCredentials::read() const {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  error_code error;
  context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 |
                           ssl::context::no_tlsv1_1 | ssl::context::no_compression,
                       error);
  // Idle streams are many; OpenSSL's buffers need not wait with them.
  SSL_CTX_set_mode(context->native_handle(), SSL_MODE_RELEASE_BUFFERS);
  const std::string* path = &certificate_path_;
  if (!error) context->use_certificate_chain_file(certificate_path_, error);
  if (!error) {
    path = &key_path_;
    context->use_private_key_file(key_path_, ssl::context::pem, error);  // checks that they match
  }
  if (error) {
    return fail(ErrorCode::kConfig, "give PEM files of a certificate chain and its private key",
                "TLS: cannot use {}: {}", *path, error.message());
  }
  return context;
}

void TlsCredentials::reload_if_changed() {
  std::string now = stamp();
  if (now == stamp_) return;
  stamp_ = std::move(now);
  auto context = read();
  if (!context) {
    log(LogLevel::kWarning, "{}; the former certificate stays in use", context.error().to_string());
    return;
  }
  context_ = *std::move(context);
  log(LogLevel::kInfo, "TLS: {} was read again", certificate_path_);
}

}  // namespace dsl::serving
