// Fetches a repository and ends: what bench/hub_compare.py runs, so that the figures are the hub's
// and not those of a program that loads libtorch as well.
//
//     hub_fetch fetch REPO[@REVISION] [--verify full|length|none]

#include <modelpool/hub/hub.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace modelpool;

verification to_verification(const std::string& text)
{
    if (text == "length") return verification::length;
    return text == "none" ? verification::none : verification::full;
}

void blocking_fetch(const std::string& repo, verification how)
{
    hub files{hub_options::from_environment().verify(how)};
    boost::asio::io_context io{1};
    std::exception_ptr problem;
    auto finish = [&](std::exception_ptr failed, const snapshot& got) {
        problem = std::move(failed);
        if (!problem) std::cout << got.dir().string() << '\n';
    };
    boost::asio::co_spawn(io, files.fetch(repo), finish);
    io.run();
    if (problem) std::rethrow_exception(problem);
}

}  // namespace

int main(int argc, char** argv)
{
    const std::vector<std::string> words(argv + 1, argv + argc);
    const bool is_right = words.size() == 2 || (words.size() == 4 && words[2] == "--verify");
    if (!is_right || words[0] != "fetch") {
        std::cerr << "usage: hub_fetch fetch REPO[@REVISION] [--verify full|length|none]\n";
        return 2;
    }
    try {
        blocking_fetch(words[1], to_verification(words.size() == 4 ? words[3] : "full"));
        return 0;
    } catch (const std::exception& problem) {
        std::cerr << "hub_fetch: " << problem.what() << '\n';
        return 1;
    }
}
