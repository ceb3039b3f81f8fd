// TLS, and certificates that change while the server runs.
#include <gmock/gmock.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <cstdio>
#include <memory>

#include "../checkpoint/checkpoint_files.h"
#include "engine/serving/http/http_server.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

class HelloHandler final : public HttpHandler {
 public:
  std::optional<HttpResponse> refuse(const HttpHead&) override { return std::nullopt; }
  HttpResponse handle(const HttpRequest&) override { return {200, "text/plain", "hello", nullptr}; }
};

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

/// Writes a self-signed certificate of this serial number and its key.
void write_credentials(const std::filesystem::path& certificate_path,
                       const std::filesystem::path& key_path, long serial) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                &EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), &X509_free);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  const File key_file(std::fopen(key_path.c_str(), "w"));
  PEM_write_PrivateKey(key_file.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  const File certificate_file(std::fopen(certificate_path.c_str(), "w"));
  PEM_write_X509(certificate_file.get(), certificate.get());
}

class HttpTlsTest : public testing::Test {
 protected:
  HttpTlsTest() {
    options_.tls_certificate = (directory_.path() / "certificate.pem").string();
    options_.tls_key = (directory_.path() / "key.pem").string();
    write_credentials(options_.tls_certificate, options_.tls_key, 1);
  }
  void start() {
    auto started = HttpServer::start(options_, handler_);
    ASSERT_TRUE(started.has_value()) << started.error().message;
    server_ = *std::move(started);
  }

  /// One exchange; the serial number of the certificate that the server showed, 0 when it failed.
  long serial_shown() {
    asio::io_context context;
    asio::ssl::context client(asio::ssl::context::tls_client);
    asio::ssl::stream<tcp::socket> stream(context, client);
    boost::system::error_code error;
    const std::string port = server_->endpoint().substr(server_->endpoint().rfind(':') + 1);
    stream.next_layer().connect(
        {asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(std::stoi(port))}, error);
    if (!error) stream.handshake(asio::ssl::stream_base::client, error);
    if (error) return 0;
    const std::string request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    asio::write(stream, asio::buffer(request), error);
    std::string answer;
    asio::read(stream, asio::dynamic_buffer(answer), error);
    EXPECT_THAT(answer, testing::HasSubstr("\r\n\r\nhello"));
    const std::unique_ptr<X509, decltype(&X509_free)> shown(
        SSL_get1_peer_certificate(stream.native_handle()), &X509_free);
    return shown ? ASN1_INTEGER_get(X509_get_serialNumber(shown.get())) : 0;
  }
  /// Connects until the server shows this serial number; false after 20 s.
  bool wait_for_serial(long serial) {
    const Deadline deadline = Deadline::after(std::chrono::seconds(20));
    while (!deadline.expired()) {
      if (serial_shown() == serial) return true;
    }
    return false;
  }

  const checkpoint::TemporaryDirectory directory_;
  HttpServerOptions options_;
  HelloHandler handler_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTlsTest, AnswersAndFollowsChangedFiles) {
  start();
  EXPECT_EQ(serial_shown(), 1);
  write_credentials(options_.tls_certificate, options_.tls_key, 2);
  EXPECT_TRUE(wait_for_serial(2));
}

TEST_F(HttpTlsTest, UnusableNewFilesLeaveTheOldOnesInForce) {
  start();
  directory_.write("certificate.pem", "nonsense");
  // Seen at the latest after the next good change.
  EXPECT_EQ(serial_shown(), 1);
  write_credentials(options_.tls_certificate, options_.tls_key, 3);
  EXPECT_TRUE(wait_for_serial(3));
}

TEST_F(HttpTlsTest, UnusableFilesAreNamedAtTheStart) {
  directory_.write("key.pem", "nonsense");
  const auto started = HttpServer::start(options_, handler_);
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code, ErrorCode::kConfig);
  EXPECT_THAT(started.error().message, testing::HasSubstr("key.pem"));
}

}  // namespace
}  // namespace dsl::serving
