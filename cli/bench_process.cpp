#include "bench_process.hpp"

#include <fstream>
#include <string>
#include <string_view>

namespace modelpool::cli {
namespace {

double status_mib(std::string_view name)
{
    std::ifstream in{"/proc/self/status"};
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(name)) return std::stod(line.substr(name.size())) / 1024.0;
    return 0;
}

}  // namespace

double seconds_since(bench_clock::time_point begin)
{
    return std::chrono::duration<double>(bench_clock::now() - begin).count();
}

double resident_mib()
{
    return status_mib("VmRSS:");
}

double resident_in_files_mib()
{
    return status_mib("RssFile:");
}

double peak_mib()
{
    return status_mib("VmHWM:");
}

}  // namespace modelpool::cli
