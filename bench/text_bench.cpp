// How fast texts become tokens, and conversations texts. Obeys one command a line from standard
// input (or one from its arguments) and answers each with a line of seconds of
// processor time, which a busy machine does not change, so that a script can
// measure a peer in turns with it:
//
//     load TOKENIZER                  reading a tokenizer
//     encode TOKENIZER TEXTS          encoding every line of a file, without offsets
//     offsets TOKENIZER TEXTS         the same with tokens and offsets
//     decode TOKENIZER TEXTS          decoding what the lines encode to
//     render TEMPLATE MESSAGES N      rendering a conversation N times: a line of MESSAGES is a
//                                     role, a tab, and what is said
//     render_json TEMPLATE JSON N     the same with the reading of an array of messages each time

#include <modelpool/error.hpp>
#include <modelpool/text/chat_template.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <ctime>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace modelpool::text;

std::string read_file(const std::string& path)
{
    std::ifstream in{path, std::ios::binary};
    if (!in) throw std::runtime_error{path + ": cannot be read"};
    return {std::istreambuf_iterator<char>{in}, std::istreambuf_iterator<char>{}};
}

template <typename Work>
double seconds_of(const Work& work)
{
    const std::clock_t begun = std::clock();
    work();
    return static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC;
}

class bench {
public:
    double obey(std::istream& command)
    {
        std::string verb;
        std::string subject;
        std::string with;
        command >> verb >> subject >> with;
        if (verb == "load")
            return seconds_of([&] { static_cast<void>(tokenizer::blocking_load(subject)); });
        if (verb == "encode") return encode(subject, with, encode_options{});
        if (verb == "offsets") return encode(subject, with, encode_options{}.with_offsets(true));
        if (verb == "decode") return decode(subject, with);
        if (verb == "render" || verb == "render_json") {
            std::size_t n_times = 0;
            command >> n_times;
            if (verb == "render") return render(subject, read_chat(with), n_times);
            return render(subject, chat_json{read_file(with), {}, {}}, n_times);
        }
        throw std::runtime_error{"no such command: '" + verb + "'"};
    }

private:
    const tokenizer& loaded(const std::string& path)
    {
        const auto found = tokenizers_.find(path);
        if (found != tokenizers_.end()) return found->second;
        return tokenizers_.emplace(path, tokenizer::blocking_load(path)).first->second;
    }

    const std::vector<std::string>& lines_of(const std::string& path)
    {
        std::vector<std::string>& lines = texts_[path];
        if (!lines.empty()) return lines;
        std::istringstream in{read_file(path)};
        for (std::string line; std::getline(in, line);)
            lines.push_back(line);
        return lines;
    }

    double encode(const std::string& path, const std::string& texts, const encode_options& options)
    {
        const tokenizer& subject = loaded(path);
        const std::vector<std::string>& lines = lines_of(texts);
        return seconds_of([&] {
            for (const std::string& line : lines)
                n_tokens_ += subject.encode(line, options).ids.size();
        });
    }

    double decode(const std::string& path, const std::string& texts)
    {
        const tokenizer& subject = loaded(path);
        std::vector<std::vector<token_id>> rows;
        for (const std::string& line : lines_of(texts))
            rows.push_back(subject.encode(line).ids);
        return seconds_of([&] {
            for (const std::vector<token_id>& row : rows)
                n_tokens_ += subject.decode(row, false).size();
        });
    }

    static modelpool::chat read_chat(const std::string& path)
    {
        modelpool::chat made;
        std::istringstream in{read_file(path)};
        for (std::string line; std::getline(in, line);) {
            const std::size_t tab = line.find('\t');
            if (tab == std::string::npos) throw std::runtime_error{path + ": a line without a tab"};
            modelpool::message one;
            one.role = line.substr(0, tab);
            one.content.emplace_back(line.substr(tab + 1));
            made.add(std::move(one));
        }
        return made;
    }

    template <typename Conversation>
    double render(const std::string& path, const Conversation& conversation, std::size_t n_times)
    {
        const std::map<std::string, std::string> tokens{
            {"bos_token", "<s>"}, {"eos_token", "</s>"}};
        const auto subject = chat_template::from_source(read_file(path), tokens, path);
        return seconds_of([&] {
            for (std::size_t i = 0; i < n_times; ++i)
                n_tokens_ += subject.render(conversation).size();
        });
    }

    std::map<std::string, tokenizer> tokenizers_;
    std::map<std::string, std::vector<std::string>> texts_;
    std::size_t n_tokens_{0};  // what is computed must be used
};

}  // namespace

int main(int argc, char** argv)
try {
    bench subject;
    if (argc > 1) {
        std::stringstream command;
        for (int i = 1; i < argc; ++i)
            command << argv[i] << ' ';
        std::cout << subject.obey(command) << '\n';
        return 0;
    }
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream command{line};
        std::cout << subject.obey(command) << std::endl;
    }
    return 0;
} catch (const std::exception& problem) {
    std::cerr << "text_bench: " << problem.what() << '\n';
    return 1;
}
