//! ggml's products, as llama.cpp runs them: a graph on the CPU backend.

mod blocks;

use std::ffi::c_void;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use crate::weights::{D_INPUT, D_OUTPUT, N_EXPERTS, Weights};

/// Where ggml keeps weights.
#[derive(Clone, Copy)]
pub enum Buffer {
    /// As files have them.
    Plain,
    /// Rearranged when they are loaded, eight rows in one (`CPU_REPACK`).
    Repacked,
}

/// All matrices in ggml's memory.
pub struct Matrices {
    name: &'static str,
    backend: sys::ggml_backend_t,
    tensors: Vec<NonNull<sys::ggml_tensor>>,
    n_bytes: usize,
}

/// Products of the same rows with all matrices; weights and threads live as long as the process.
pub struct Graph {
    backend: sys::ggml_backend_t,
    graph: *mut sys::ggml_cgraph,
    outputs: Vec<NonNull<sys::ggml_tensor>>,
    n_rows: usize,
}

impl Matrices {
    /// Copies weights, or nothing if this build of ggml has no such buffer.
    pub fn new(weights: &Weights, buffer: Buffer, threads: usize) -> Option<Self> {
        let backend = backend(threads);
        let name = match buffer {
            Buffer::Plain => "ggml",
            Buffer::Repacked => "ggml, repacked",
        };
        let buffer = match buffer {
            // SAFETY: no arguments.
            Buffer::Plain => unsafe { sys::ggml_backend_cpu_buffer_type() },
            Buffer::Repacked => extra_buffer(backend)?,
        };
        let context = context();
        let new = |_| {
            // SAFETY: the context is valid and has room.
            let tensor = unsafe {
                let shape = [D_INPUT as i64, D_OUTPUT as i64];
                sys::ggml_new_tensor_2d(context, sys::GGML_TYPE_MXFP4, shape[0], shape[1])
            };
            NonNull::new(tensor).expect("a tensor")
        };
        let tensors: Vec<_> = (0..N_EXPERTS).map(new).collect();
        // SAFETY: context and buffer type are valid.
        let memory = unsafe { sys::ggml_backend_alloc_ctx_tensors_from_buft(context, buffer) };
        assert!(!memory.is_null(), "memory for weights");
        let usage = sys::GGML_BACKEND_BUFFER_USAGE_WEIGHTS;
        // SAFETY: the buffer is valid.
        unsafe { sys::ggml_backend_buffer_set_usage(memory, usage) };
        let mut n_bytes = 0;
        for (expert, tensor) in tensors.iter().enumerate() {
            let bytes = blocks::mxfp4(weights.expert(expert));
            n_bytes += bytes.len();
            set(*tensor, &bytes);
        }
        Some(Self {
            name,
            backend,
            tensors,
            n_bytes,
        })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Bytes of all matrices, which are as many as those of the weights.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Products of rows `[n, D_INPUT]` with all matrices.
    pub fn graph(&self, values: &[f32], n_rows: usize) -> Graph {
        let context = context();
        // SAFETY: the context is valid and has room, and so are the tensors made in it.
        let (graph, input, outputs) = unsafe {
            let graph = sys::ggml_new_graph(context);
            let shape = [D_INPUT as i64, n_rows as i64];
            let input = sys::ggml_new_tensor_2d(context, sys::GGML_TYPE_F32, shape[0], shape[1]);
            let product = |weight: &NonNull<_>| {
                let product = sys::ggml_mul_mat(context, weight.as_ptr(), input);
                sys::ggml_build_forward_expand(graph, product);
                NonNull::new(product).expect("a tensor")
            };
            let outputs: Vec<_> = self.tensors.iter().map(product).collect();
            let buffer = sys::ggml_backend_cpu_buffer_type();
            let memory = sys::ggml_backend_alloc_ctx_tensors_from_buft(context, buffer);
            assert!(!memory.is_null(), "memory for rows");
            (graph, input, outputs)
        };
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        set(NonNull::new(input).expect("a tensor"), &bytes);
        Graph {
            backend: self.backend,
            graph,
            outputs,
            n_rows,
        }
    }
}

impl Graph {
    pub fn compute(&mut self) {
        // SAFETY: backend and graph are valid.
        let status = unsafe { sys::ggml_backend_graph_compute(self.backend, self.graph) };
        assert_eq!(status, sys::GGML_STATUS_SUCCESS);
    }

    /// The last product of one matrix, `[n, D_OUTPUT]`.
    pub fn output(&self, expert: usize) -> Vec<f32> {
        let mut out = vec![0f32; self.n_rows * D_OUTPUT];
        let tensor = self.outputs[expert].as_ptr();
        // SAFETY: the tensor has that many values.
        unsafe {
            let data = out.as_mut_ptr().cast::<c_void>();
            sys::ggml_backend_tensor_get(tensor, data, 0, size_of_val(&out[..]));
        }
        out
    }
}

/// A CPU backend with threads that wait for graphs asleep, so that they take no time from others.
fn backend(threads: usize) -> sys::ggml_backend_t {
    // SAFETY: the parameters are valid, and the pool is never freed.
    unsafe {
        let backend = sys::ggml_backend_cpu_init();
        assert!(!backend.is_null(), "a CPU backend");
        let mut parameters = sys::ggml_threadpool_params_default(threads as i32);
        parameters.poll = 0;
        let pool = sys::ggml_threadpool_new(&mut parameters);
        sys::ggml_backend_cpu_set_n_threads(backend, threads as i32);
        sys::ggml_backend_cpu_set_threadpool(backend, pool);
        backend
    }
}

/// Instructions that this build of ggml has.
pub fn instructions() -> String {
    // SAFETY: no arguments.
    let has = unsafe {
        [
            ("AVX2", sys::ggml_cpu_has_avx2()),
            ("AVX-512", sys::ggml_cpu_has_avx512()),
            ("VNNI", sys::ggml_cpu_has_avx512_vnni()),
            ("NEON", sys::ggml_cpu_has_neon()),
        ]
    };
    let names = has.iter().filter(|(_, has)| *has != 0);
    names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The first buffer type of the CPU that rearranges weights.
fn extra_buffer(backend: sys::ggml_backend_t) -> Option<sys::ggml_backend_buffer_type_t> {
    // SAFETY: the backend is valid; the function of that name has that type, and its list ends with null.
    unsafe {
        let device = sys::ggml_backend_get_device(backend);
        let registry = sys::ggml_backend_dev_backend_reg(device);
        let name = c"ggml_backend_dev_get_extra_bufts".as_ptr();
        let function = sys::ggml_backend_reg_get_proc_address(registry, name);
        let function: sys::ggml_backend_dev_get_extra_bufts_t = std::mem::transmute(function);
        let mut list = function?(device);
        while !list.is_null() && !(*list).is_null() {
            let name = std::ffi::CStr::from_ptr(sys::ggml_backend_buft_name(*list));
            if name == c"CPU_REPACK" {
                return Some(*list);
            }
            list = list.add(1);
        }
        None
    }
}

/// A context for the descriptions of tensors, which is never freed.
fn context() -> *mut sys::ggml_context {
    let parameters = sys::ggml_init_params {
        mem_size: 4 << 20,
        mem_buffer: std::ptr::null_mut(),
        no_alloc: true,
    };
    // SAFETY: the parameters are valid.
    let context = unsafe { sys::ggml_init(parameters) };
    assert!(!context.is_null(), "a context");
    context
}

fn set(tensor: NonNull<sys::ggml_tensor>, bytes: &[u8]) {
    // SAFETY: the tensor is valid, and checks the number of bytes.
    unsafe { sys::ggml_backend_tensor_set(tensor.as_ptr(), bytes.as_ptr().cast(), 0, bytes.len()) }
}
