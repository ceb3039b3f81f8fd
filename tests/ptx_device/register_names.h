// The registers that a kernel's text declares, and their places in a warp's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsl::test::ptx {

struct RegisterPlace {
  std::uint32_t place = 0;
  std::uint32_t slot_bytes = 0;  // of a lane; 0: a predicate
};

class RegisterNames {
 public:
  /// What stands between .reg and the semicolon, such as ".b32 %r<73>" or ".pred p, q". Throws
  /// Fault for a type that is not known.
  void declare(std::string_view declaration);
  void open_scope() { scopes_.emplace_back(); }
  void close_scope() { scopes_.pop_back(); }

  std::optional<RegisterPlace> find(std::string_view name) const;
  /// A register without a name.
  RegisterPlace add(std::uint32_t slot_bytes);
  std::uint32_t bytes() const { return bytes_; }

 private:
  struct Family {
    RegisterPlace first;
    std::uint32_t count = 0;
  };

  RegisterPlace add_many(std::uint32_t slot_bytes, std::uint32_t count);

  std::map<std::string, Family, std::less<>> families_;
  std::vector<std::map<std::string, RegisterPlace, std::less<>>> scopes_{1};
  std::uint32_t bytes_ = 0;
};

}  // namespace dsl::test::ptx
