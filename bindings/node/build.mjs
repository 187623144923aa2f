// Provides build/llmrl.node, the addon, with the C library inside. Run by `npm install`; nothing is downloaded.
//
//   node build.mjs              takes prebuilds/<platform>-<arch>/llmrl.node if it is there, else compiles
//   node build.mjs --force      compiles
//   node build.mjs --prebuild   compiles, and puts it into prebuilds/ for `npm pack`, with the header
//
// Compiling needs a C compiler (CC, or cc) and the C library: the folder LLMRL_LIB_DIR, with libllmrl.a, or else, in a clone of the
// repository, `cargo build --release` makes it.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, renameSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..', '..')
const inClone = existsSync(join(root, 'Cargo.toml')) && existsSync(join(root, 'include', 'llmrl.h'))
const prebuilt = join(here, 'prebuilds', `${process.platform}-${process.arch}`, 'llmrl.node')
const built = join(here, 'build', 'llmrl.node')

function fail(message) {
  console.error(`llmrl: ${message}`)
  process.exit(1)
}

function run(command, args, options = {}) {
  try {
    execFileSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'], ...options })
  } catch (error) {
    fail(`${command} failed: ${error.message.split('\n')[0]}`)
  }
}

function library() {
  const given = process.env.LLMRL_LIB_DIR
  if (!given && !inClone) {
    fail(`there is no prebuilt addon for ${process.platform}-${process.arch}; set LLMRL_LIB_DIR to a folder with libllmrl.a`)
  }
  if (!given) run('cargo', ['build', '--release'], { cwd: root })
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target')
  const file = join(given ?? join(target, 'release'), 'libllmrl.a')
  return existsSync(file) ? file : fail(`no ${file}`)
}

function compile() {
  if (process.platform === 'win32') fail('Windows is not supported')
  const headers = createRequire(import.meta.url)('node-api-headers').include_dir
  const mac = process.platform === 'darwin'
  const sources = ['env.c', 'request.c', 'object.c', 'answer.c'].map(name => join(here, 'src', name))
  mkdirSync(dirname(built), { recursive: true })
  // Elsewhere first and then moved: a process that runs the old one keeps it.
  const fresh = `${built}.${process.pid}`
  run(process.env.CC ?? 'cc', [
    '-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror=implicit-function-declaration', '-fPIC', '-fvisibility=hidden', '-pthread',
    '-I', headers, '-I', inClone ? join(root, 'include') : join(here, 'include'),
    ...sources, library(), '-o', fresh,
    // Not unloaded with the worker that has loaded it: threads of others may be inside.
    ...(mac ? ['-bundle', '-undefined', 'dynamic_lookup', '-Wl,-dead_strip'] : ['-shared', '-Wl,--exclude-libs,ALL', '-Wl,--gc-sections', '-Wl,-z,nodelete', '-s']),
    '-lm', ...(mac ? [] : ['-ldl']),
  ])
  renameSync(fresh, built)
}

if (process.argv.includes('--force') || process.argv.includes('--prebuild') || !existsSync(prebuilt)) compile()
if (process.argv.includes('--prebuild')) {
  mkdirSync(dirname(prebuilt), { recursive: true })
  copyFileSync(built, prebuilt)
  if (inClone) {
    mkdirSync(join(here, 'include'), { recursive: true })
    copyFileSync(join(root, 'include', 'llmrl.h'), join(here, 'include', 'llmrl.h'))
  }
}
