// The parts of the report's page that are the same for all plans. CMakeLists.txt makes them of simulator/report_page/.
#pragma once

#include <string_view>

namespace meshloom {

extern const std::string_view report_style, report_body, report_script;

}  // namespace meshloom
