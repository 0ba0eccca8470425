//! `#[derive(Shared)]`: see the trait of that name in the crate `steadfast`, which exports this.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, parse_macro_input};

/// Makes a struct of primitives one that lives in a shared segment, and beside it the struct of what its parts
/// are made from: `Shop` gets a `ShopInit`, with the same fields.
#[proc_macro_derive(Shared)]
pub fn shared(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let refused = |what: &str| Err(Error::new_spanned(name, what));
    let Data::Struct(data) = &input.data else {
        return refused("only a struct with named fields can be shared");
    };
    let Fields::Named(fields) = &data.fields else {
        return refused("only a struct with named fields can be shared: give its fields names");
    };
    if !input.generics.params.is_empty() {
        return refused(
            "a shared struct has no parameters: programs agree on one type by its text",
        );
    }
    let fields: Vec<_> = fields.named.iter().collect();
    let names: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let scopes: Vec<_> = fields.iter().map(|field| &field.vis).collect();
    let docs: Vec<_> = names.iter().map(|field| format!("What `{field}` is made from.")).collect();
    let texts: Vec<_> = names.iter().map(|field| format!(" {field}: ")).collect();
    let (begin, scope, init) = (format!("{name} {{"), &input.vis, format_ident!("{name}Init"));
    let about = format!("What a [`{name}`] in shared memory is made from, part by part.");
    Ok(quote! {
        #[doc = #about]
        #scope struct #init {
            #(#[doc = #docs] #scopes #names: <#types as ::steadfast::Shared>::Init,)*
        }

        impl ::steadfast::Shared for #name {
            type Init = #init;

            fn describe(text: &mut ::std::string::String) {
                text.push_str(#begin);
                #(
                    text.push_str(#texts);
                    <#types as ::steadfast::Shared>::describe(text);
                    text.push(',');
                )*
                text.push_str(" }");
            }

            fn measure(
                init: &#init,
                room: &mut ::steadfast::parts::Room,
            ) -> ::core::result::Result<(), &'static str> {
                #(<#types as ::steadfast::Shared>::measure(&init.#names, room)?;)*
                ::core::result::Result::Ok(())
            }

            fn init(
                init: &#init,
                area: &::steadfast::parts::Area,
                room: &mut ::steadfast::parts::Room,
            ) -> ::std::io::Result<()> {
                #(<#types as ::steadfast::Shared>::init(&init.#names, area, room)?;)*
                ::core::result::Result::Ok(())
            }

            fn place(
                segment: &::steadfast::Segment,
                room: &mut ::steadfast::parts::Room,
            ) -> ::core::result::Result<Self, ::steadfast::SegmentError> {
                ::core::result::Result::Ok(#name {
                    #(#names: <#types as ::steadfast::Shared>::place(segment, room)?,)*
                })
            }
        }
    })
}
