#include "transport/verbs/ucx_facts.h"

#include <ucp/api/ucp.h>
#include <uct/api/uct.h>

#include <set>

namespace dsl::verbs {
namespace {

tl::unexpected<Error> ucx_error(std::string_view call, ucs_status_t status) {
  return fail(ErrorCode::kTransport, "check the UCX installation with ucx_info -d", "{}: {}", call,
              ::ucs_status_string(status));
}

Result<std::vector<std::string>> query_memory_types() {
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_TAG;
  ucp_context_h context = nullptr;
  if (const auto status = ::ucp_init(&params, nullptr, &context); status != UCS_OK) {
    return ucx_error("ucp_init", status);
  }
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  const auto status = ::ucp_context_query(context, &attributes);
  ::ucp_cleanup(context);
  if (status != UCS_OK) return ucx_error("ucp_context_query", status);
  std::vector<std::string> types;
  for (int type = 0; type < UCS_MEMORY_TYPE_LAST; ++type) {
    if ((attributes.memory_types >> type) & 1) types.emplace_back(::ucs_memory_type_names[type]);
  }
  return types;
}

/// Adds the transports of one memory domain; a domain that cannot be opened offers none.
void add_transports(uct_component_h component, const char* domain, std::set<std::string>& names) {
  uct_md_config_t* config = nullptr;
  if (::uct_md_config_read(component, nullptr, nullptr, &config) != UCS_OK) return;
  uct_md_h md = nullptr;
  const auto opened = ::uct_md_open(component, domain, config, &md);
  ::uct_config_release(config);
  if (opened != UCS_OK) return;
  uct_tl_resource_desc_t* resources = nullptr;
  unsigned count = 0;
  if (::uct_md_query_tl_resources(md, &resources, &count) == UCS_OK) {
    for (unsigned i = 0; i < count; ++i) {
      names.insert(fmt::format("{}/{}", resources[i].tl_name, resources[i].dev_name));
    }
    ::uct_release_tl_resource_list(resources);
  }
  ::uct_md_close(md);
}

Result<std::vector<std::string>> query_transports() {
  uct_component_h* components = nullptr;
  unsigned count = 0;
  if (const auto status = ::uct_query_components(&components, &count); status != UCS_OK) {
    return ucx_error("uct_query_components", status);
  }
  std::set<std::string> names;
  for (unsigned i = 0; i < count; ++i) {
    uct_component_attr_t attributes{};
    attributes.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCE_COUNT;
    if (::uct_component_query(components[i], &attributes) != UCS_OK) continue;
    std::vector<uct_md_resource_desc_t> domains(attributes.md_resource_count);
    attributes.md_resources = domains.data();
    attributes.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCES;
    if (::uct_component_query(components[i], &attributes) != UCS_OK) continue;
    for (const auto& domain : domains) add_transports(components[i], domain.md_name, names);
  }
  ::uct_release_component_list(components);
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace

Result<UcxFacts> query_ucx() {
  UcxFacts facts;
  facts.version = ::ucp_get_version_string();
  facts.version = facts.version.substr(0, facts.version.find(' '));
  DSL_ASSIGN(facts.transports, query_transports());
  DSL_ASSIGN(facts.memory_types, query_memory_types());
  return facts;
}

}  // namespace dsl::verbs
