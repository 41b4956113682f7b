// libnvrtc for the emulated device: kernels are compiled for the host by `cargo xtask`'s compiler, once for each text, and kept.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <unistd.h>

namespace {
struct Program {
    std::string source, image, log;
};
constexpr int COMPILATION = 6;

// A path for a shell.
std::string quoted(const std::string &path) { return "'" + path + "'"; }
} // namespace

extern "C" {
const char *nvrtcGetErrorString(int) { return "an error of the emulated compiler"; }
int nvrtcCreateProgram(Program **program, const char *source, const char *, int, const char *const *, const char *const *) {
    *program = new Program{source, "", ""};
    return 0;
}
int nvrtcDestroyProgram(Program **program) {
    delete *program;
    *program = nullptr;
    return 0;
}
int nvrtcCompileProgram(Program *program, int count, const char *const *options) {
    static std::mutex lock;
    std::lock_guard<std::mutex> guard(lock);
    const char *home = getenv("EMULATED_HOME");
    if (!home) {
        program->log = "EMULATED_HOME is not set: start this by `cargo xtask cuda-test`";
        return COMPILATION;
    }
    std::string folder(home), stem = folder + "/kernels/" + std::to_string(std::hash<std::string>()(program->source));
    const std::string source = stem + ".cu", library = stem + ".so", log = stem + ".log";
    if (access(library.c_str(), R_OK)) {
        // Under a name of this process until it is whole: others may compile the same.
        const std::string own = source + "." + std::to_string(getpid()) + ".cu";
        FILE *file = fopen(own.c_str(), "w");
        if (!file || fwrite(program->source.data(), 1, program->source.size(), file) != program->source.size() || fclose(file)) {
            program->log = "cannot write " + own;
            return COMPILATION;
        }
        // Without the stand-ins, which are not for the compiler.
        std::string command = "env -u LD_LIBRARY_PATH " + quoted(folder + "/bin/nvcc") + " --emulated-library " + quoted(library);
        for (int i = 0; i < count; ++i)
            if (!strncmp(options[i], "--include-path=", 15)) command += " -I" + quoted(options[i] + 15);
        command += " " + quoted(own) + " > " + quoted(log) + " 2>&1";
        if (system(command.c_str())) {
            program->log = "see " + log;
            return COMPILATION;
        }
        remove(own.c_str());
    }
    program->image = "// emulated: " + library + "\n";
    return 0;
}
int nvrtcGetPTXSize(Program *program, size_t *size) {
    *size = program->image.size() + 1;
    return 0;
}
int nvrtcGetPTX(Program *program, char *to) {
    memcpy(to, program->image.c_str(), program->image.size() + 1);
    return 0;
}
int nvrtcGetProgramLogSize(Program *program, size_t *size) {
    *size = program->log.size() + 1;
    return 0;
}
int nvrtcGetProgramLog(Program *program, char *to) {
    memcpy(to, program->log.c_str(), program->log.size() + 1);
    return 0;
}
}
