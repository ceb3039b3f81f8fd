// Self-signed certificates for tests.
#pragma once

#include <filesystem>
#include <string>

namespace dsl::e2e {

/// Writes a certificate for `alternative_name` ("IP:127.0.0.1", "DNS:example.org"), valid for an
/// hour, and its key, each by rename.
void write_certificate(const std::filesystem::path& certificate, const std::filesystem::path& key,
                       const std::string& alternative_name);

}  // namespace dsl::e2e
