# modelpool_add_tests(<target> SOURCES <file>... [LIBRARIES <target>...])
# One Catch2 program. Each of its test cases becomes a CTest test with a time limit; the tags that say what
# a test needs become labels of the same name, which the presets leave out.
function(modelpool_add_tests target)
    cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
    add_executable(${target} ${arg_SOURCES})
    modelpool_own_target(${target})
    target_link_libraries(${target} PRIVATE modelpool_test_main modelpool_test_support ${arg_LIBRARIES})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    target_compile_definitions(${target} PRIVATE
        MODELPOOL_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
    modelpool_discover_tests(${target})
endfunction()

# Debian's Catch2 2.13 lists test cases without their tags, so the program is asked once per label.
function(modelpool_discover_tests target)
    set(listed ${CMAKE_CURRENT_BINARY_DIR}/${target}.listed.cmake)
    set(include ${CMAKE_CURRENT_BINARY_DIR}/${target}.tests.cmake)
    add_custom_command(TARGET ${target} POST_BUILD
        BYPRODUCTS ${listed}
        COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${target}> -DOUTPUT=${listed}
            "-DLABELS=net,gpu,weights,slow" -P ${PROJECT_SOURCE_DIR}/cmake/list_tests.cmake
        VERBATIM)
    file(WRITE ${include}
        "if(EXISTS [==[${listed}]==])\n"
        "    include([==[${listed}]==])\n"
        "else()\n"
        "    add_test([==[${target} was not built]==] [==[${target} was not built]==])\n"
        "endif()\n")
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include})
endfunction()
