// Quantities as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dsl::launcher {

/// 1234567 gives "1.23 MB" (powers of 1000).
std::string human_bytes(std::int64_t bytes);
/// 75.2 gives "1 min 15 s"; below ten seconds one decimal.
std::string human_duration(double seconds);

/// Rows as columns under their headings, two blanks between, without trailing blanks; the first row
/// is the heading.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace dsl::launcher
