#pragma once

#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include "fake_hub.hpp"
#include "support/temp_dir.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" char** environ;

namespace modelpool::testing {

/// A fetch in a process of its own: this very program, with the hidden test of process_test.cpp.
class child {
public:
    /// With `more` variables, as "NAME=value".
    child(const fake_hub& server, const temp_dir& dir, const std::vector<std::string>& more = {})
    {
        std::vector<std::string> texts = more;
        for (char** one = environ; *one != nullptr; ++one)
            texts.emplace_back(*one);
        texts.push_back("HF_ENDPOINT=" + server.hub.url());
        texts.push_back("HF_HUB_CACHE=" + (dir / "cache").string());
        texts.push_back("NO_PROXY=127.0.0.1");
        std::vector<char*> variables;
        for (std::string& one : texts)
            variables.push_back(one.data());
        variables.push_back(nullptr);
        std::string program = "/proc/self/exe";
        std::string test = "hub child: fetches what the environment names";
        std::vector<char*> arguments{program.data(), test.data(), nullptr};
        posix_spawn_file_actions_t quiet{};
        posix_spawn_file_actions_init(&quiet);
        posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
        const int failed = ::posix_spawn(
            &pid_, program.c_str(), &quiet, nullptr, arguments.data(), variables.data());
        posix_spawn_file_actions_destroy(&quiet);
        REQUIRE(failed == 0);
    }
    ~child() { wait(); }
    child(const child&) = delete;
    child& operator=(const child&) = delete;

    void kill() const { ::kill(pid_, SIGKILL); }
    /// True where it ended well.
    bool wait()
    {
        if (pid_ == 0) return false;
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = 0;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }

private:
    pid_t pid_{0};
};

}  // namespace modelpool::testing
