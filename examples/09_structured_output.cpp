// Makes a model fill in a form: its answer is JSON of a schema, whatever the model would have said.
//
//     09_structured_output MODEL TEXT       a GGUF file, or a folder of safetensors
//
// Prints the JSON, and why it ended: "stop" where it is whole.
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <iostream>

namespace mp = modelpool;
using namespace std::chrono_literals;

constexpr const char* form = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string", "maxLength": 40},
    "mood": {"enum": ["happy", "sad", "angry", "none"]},
    "stars": {"type": "integer", "minimum": 1, "maximum": 5},
    "topics": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 3}
  },
  "required": ["name", "mood", "stars", "topics"]
})";

mp::awaitable<void> co_main(mp::runtime& rt, std::string model, std::string text)
{
    mp::pool<mp::text_to_text> writers{rt};
    mp::registry models{rt};
    models.use(writers);
    co_await models.add(mp::models::blocking_card(model));
    auto writer = co_await models.find<mp::text_to_text>(model);

    mp::generation_params params;
    params.json_schema = form;
    params.max_tokens = 200;
    std::string prompt = "Text: " + text + "\nAs JSON with name, mood, stars and topics:\n";
    mp::token_stream reply = co_await writer.complete(std::move(prompt), std::move(params));
    const mp::generation_result whole = co_await reply.collect();
    const bool complete = whole.end.reason == mp::finish_reason::stop;
    std::cout << whole.text << '\n' << (complete ? "[stop]" : "[cut short]") << '\n';
    co_await writers.shutdown(5s);
}

int main(int argc, char** argv)
try {
    if (argc != 3) {
        std::cerr << "usage: 09_structured_output MODEL TEXT\n";
        return 2;
    }
    boost::asio::io_context io;
    mp::runtime rt{io.get_executor()};
    auto rethrow = [](std::exception_ptr problem) {
        if (problem) std::rethrow_exception(problem);
    };
    boost::asio::co_spawn(io, co_main(rt, argv[1], argv[2]), rethrow);
    io.run();
} catch (const std::exception& problem) {
    std::cerr << "09_structured_output: " << problem.what() << '\n';
    return 1;
}
