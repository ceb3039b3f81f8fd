#include "tests/ptx_device/module.h"

#include <fmt/format.h>

#include <utility>

#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/kernel_parser.h"
#include "tests/ptx_device/ptx_text.h"
#include "tests/ptx_device/warpgroup_products.h"

namespace dsl::test::ptx {

Module::Module(std::string text) : text_(std::move(text)) {
  constexpr std::string_view kEntry = ".entry ";
  for (std::size_t at = text_.find(kEntry); at != std::string::npos; at = text_.find(kEntry, at)) {
    const std::size_t body = text_.find('{', at);
    if (body == std::string::npos) throw Fault("an entry without a body");
    const std::string_view source =
        std::string_view(text_).substr(at, behind_braces(text_, body) - at);
    const std::size_t name = kEntry.size();
    sources_[std::string(trim(source.substr(name, source.find('(') - name)))] = source;
    at += source.size();
  }
}

Module::~Module() = default;

const Kernel& Module::kernel(std::string_view name) {
  if (const auto found = kernels_.find(name); found != kernels_.end()) return *found->second;
  const auto source = sources_.find(name);
  if (source == sources_.end()) throw Fault(fmt::format("no kernel {} in this module", name));
  auto kernel = parse_kernel(source->second);
  check_fences(*kernel);
  return *kernels_.emplace(std::string(name), std::move(kernel)).first->second;
}

std::span<const Parameter> parameters_of(const Kernel& kernel) { return kernel.parameters; }

}  // namespace dsl::test::ptx
